"""Loss weights: how much an error at a noise level counts.

| name | weight | most at | paper |
|---|---|---|---|
| even | 1 | - | - |
| sigma_sqrt | sigma^-2 | little noise, without bound | Stable Diffusion 3 |
| cosmap | 2 / (pi (1 - 2 sigma + 2 sigma^2)) | the middle, twice the ends | Stable Diffusion 3 |
| bell | a Gaussian around 1/2, 0 at both ends | the middle | Self Forcing, Lyra 2 |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class LossWeight(Protocol):
    """A factor for each level."""

    def __call__(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]: ...
