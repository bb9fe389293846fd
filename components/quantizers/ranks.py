"""The batch of all ranks as one: what keeps codebooks equal under data parallelism.

In a single process everything is the identity. Every rank must make the same calls in the same order.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor


def num_ranks() -> int:
    """Processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(local: Tensor) -> Tensor:
    """The sum of every rank's tensor, equal on all."""
    if num_ranks() == 1:
        return local
    total = local.clone()
    dist.all_reduce(total)
    return total


def gather_over_ranks(local: Tensor) -> Tensor:
    """Every rank's tensor on a new first axis, in rank order."""
    if num_ranks() == 1:
        return local[None]
    every = [torch.empty_like(local) for _ in range(num_ranks())]
    dist.all_gather(every, local.contiguous())
    return torch.stack(every)


class JoinedFeatures:
    """The features of all ranks below each other, in rank order; only the rows asked for travel.

    local: this rank's features.
    rank: this process's place in the order.
    first: place of this rank's first feature.
    total: features of all ranks.
    """

    def __init__(self, local: Float[Tensor, "n d"]) -> None:
        self.local = local
        self.rank, self.first, self.total = 0, 0, len(local)
        if num_ranks() > 1:
            counts = gather_over_ranks(torch.tensor(len(local), device=local.device)).tolist()
            self.rank = dist.get_rank()
            self.first, self.total = sum(counts[: self.rank]), sum(counts)

    def rows(self, places: Int[Tensor, " k"]) -> Float[Tensor, "k d"]:
        """The features at these places, equal on all ranks; each comes from the one rank that has it."""
        here = places - self.first
        mine = (here >= 0) & (here < len(self.local))
        found = self.local[here.clamp(0, len(self.local) - 1)]
        return sum_over_ranks(torch.where(mine[:, None], found, 0.0))
