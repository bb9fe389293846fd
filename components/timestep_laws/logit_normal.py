"""A Gaussian through a sigmoid."""

import torch
from jaxtyping import Float
from torch import Tensor


class LogitNormal:
    """sigma = sigmoid(mean + std z), z standard normal.

    Raises ValueError unless std > 0.
    Source: Stable Diffusion 3 (arXiv 2403.03206), section 3.1.
    """

    def __init__(self, *, mean: float = 0.0, std: float = 1.0) -> None:
        if std <= 0:
            raise ValueError(f"a logit-normal law needs std > 0; std is {std:g}")
        self.mean, self.std = mean, std

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))
