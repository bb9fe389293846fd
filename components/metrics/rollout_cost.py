"""What a rollout costs as it grows."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class RolloutCost(Metric):
    """Seconds of each new frame, mean over rollouts, and peak bytes, the largest over rollouts and processes.

    `compute()` gives both against length: seconds (horizon,) and bytes (horizon,); not a number and 0 where
    no rollout was timed.
    """

    full_state_update = False
    seconds: Tensor
    memory: Tensor
    count: Tensor

    def __init__(self, *, horizon: int) -> None:
        super().__init__()
        zeros = torch.zeros(horizon, dtype=torch.float64)
        self.add_state("seconds", default=zeros, dist_reduce_fx="sum")
        self.add_state("memory", default=zeros.clone(), dist_reduce_fx="max")
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, seconds: Float[Tensor, " t"], memory: Float[Tensor, " t"]) -> None:
        """Add one rollout: seconds of each frame, peak bytes when it was made."""
        self.seconds += seconds.to(self.seconds)
        self.memory = torch.maximum(self.memory, memory.to(self.memory))
        self.count += 1

    def compute(self) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
        return self.seconds / self.count, self.memory
