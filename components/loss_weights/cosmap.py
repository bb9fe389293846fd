"""The weight that makes uniform levels count as a cosine schedule would."""

from math import pi

from jaxtyping import Float
from torch import Tensor


class CosMap:
    """2 / (pi (1 - 2 sigma + 2 sigma^2)).

    Source: Stable Diffusion 3 (arXiv 2403.03206), section 3.1.
    """

    def __call__(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return 2 / (pi * (1 - 2 * sigma + 2 * sigma**2))
