"""Diagonal Gaussians: what posteriors and priors return."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class DiagonalGaussian(NamedTuple):
    """Independent normals, both fields of any one shape (..., z)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Float[Tensor, "*batch z"]) -> Float[Tensor, "*batch z"]:
        """Mean plus standard deviation times standard normal noise; gradients reach both fields."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


def kl_divergence(p: DiagonalGaussian, q: DiagonalGaussian) -> Float[Tensor, ""]:
    """KL(p || q), summed over the last axis, mean over the others; nats."""
    ratio = torch.exp(p.log_variance - q.log_variance)
    distance = (p.mean - q.mean).square() * torch.exp(-q.log_variance)
    each = 0.5 * (ratio + distance - 1.0 - p.log_variance + q.log_variance)
    return each.sum(dim=-1).mean()
