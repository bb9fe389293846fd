"""More weight in the middle, without the logit-normal's empty ends."""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

STEEPEST = 2 / (pi - 2)  # a larger scale would make the quantiles turn back


class Mode:
    """sigma = u - scale (sin^2(pi u / 2) - u).

    scale: 0 is uniform; above it the middle levels gain, under it the ends.
    Raises ValueError unless -1 <= scale <= 2 / (pi - 2), where this is a distribution.
    Source: Stable Diffusion 3 (arXiv 2403.03206), section 3.1, with u for 1 - u.
    """

    def __init__(self, *, scale: float = 1.29) -> None:
        if not -1 <= scale <= STEEPEST:
            raise ValueError(f"a mode law needs -1 <= scale <= {STEEPEST:.4f}; scale is {scale:g}")
        self.scale = scale

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return u - self.scale * (torch.sin(pi / 2 * u) ** 2 - u)
