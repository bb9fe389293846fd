"""A Gaussian in the logarithm of the signal-to-noise ratio."""

import torch
from jaxtyping import Float
from torch import Tensor


class LogSNR:
    """sigma = sigmoid(-l / 2), l = log((1 - sigma)^2 / sigma^2) normal with this mean and std.

    A logit-normal law with mean -mean / 2 and std / 2, for those who think in signal-to-noise ratios.
    Raises ValueError unless std > 0.
    """

    def __init__(self, *, mean: float = 0.0, std: float = 2.0) -> None:
        if std <= 0:
            raise ValueError(f"a log-SNR law needs std > 0; std is {std:g}")
        self.mean, self.std = mean, std

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sigmoid((self.std * torch.special.ndtri(u) - self.mean) / 2)
