"""A bell around the middle levels."""

from math import exp

import torch
from jaxtyping import Float
from torch import Tensor

from components.shifts.static import shifted

AT_ENDS = exp(-0.5)
CELLS = 1000  # levels over which the mean is taken, as in the official code


class Bell:
    """exp(-2 (sigma - 1/2)^2) less its value at the ends, over its mean.

    shift: of the levels that are drawn; the mean over uniform levels shifted so is 1.
    Source: Self Forcing (arXiv 2506.08009), official code; with shift 1, Lyra 2 (arXiv 2604.13036).
    """

    def __init__(self, *, shift: float = 1.0) -> None:
        uniform = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS
        self.mean = float(_above_ends(shifted(uniform, shift)).mean())

    def __call__(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return _above_ends(sigma) / self.mean


def _above_ends(sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    return torch.exp(-2 * (sigma - 0.5) ** 2) - AT_ENDS
