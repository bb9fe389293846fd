"""Shifts move noise levels towards noise: the more tokens tell the same thing, the more noise hides it.

| name | sigma -> | used by |
|---|---|---|
| identity | sigma | small grids |
| static | s sigma / (1 + (s - 1) sigma) | Wan (3, 5), HunyuanVideo (7) |
| resolution | the same, s = e^mu and mu linear in the number of tokens | FLUX; FramePack with s up to 7 |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Shift(Protocol):
    """A growing function of the level that keeps 0 and 1; num_tokens: tokens that are denoised at once."""

    def __call__(self, sigma: Float[Tensor, "*n"], num_tokens: int) -> Float[Tensor, "*n"]: ...
