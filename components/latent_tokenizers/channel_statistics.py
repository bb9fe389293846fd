"""Mean and standard deviation of each channel, followed while a tokenizer trains."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.quantizers.ranks import sum_over_ranks

LEAST_VARIANCE = 1e-6  # of a channel that says nothing


class ChannelStatistics(nn.Module):
    """Running moments over all but the last axis; (x - mean) / std and back.

    The first updates weigh alike, later ones by 1 - decay. Before any, mean 0 and std 1. Every rank of a
    training must update in the same step: the moments are those of the global batch.
    """

    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(self, *, channels: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("square", torch.ones(channels))
        self.register_buffer("updates", torch.tensor(0))

    @property
    def std(self) -> Float[Tensor, " c"]:
        return (self.square - self.mean.square()).clamp_min(LEAST_VARIANCE).sqrt()

    @torch.no_grad()
    def update(self, x: Float[Tensor, "*n c"]) -> None:
        rows = x.flatten(0, -2).to(self.mean.dtype)
        sums = sum_over_ranks(torch.stack([torch.ones_like(rows), rows, rows.square()]).sum(dim=1))
        weight = (1.0 / (self.updates + 1)).clamp_min(1.0 - self.decay)
        self.mean.lerp_(sums[1] / sums[0], weight)
        self.square.lerp_(sums[2] / sums[0], weight)
        self.updates += 1

    def normalised(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        return (x - self.mean) / self.std

    def restored(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        return x * self.std + self.mean
