"""How often something succeeded, with an interval."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

CERTAIN = 1.959964  # standard errors on each side of a 95 % interval


class SuccessRate(Metric):
    """Share of trials that succeeded; NaN without any.

    `interval()` is Wilson's 95 % interval, (low, high), which holds for few trials and for shares of 0 and 1.
    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """

    full_state_update = False
    successes: Tensor
    trials: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("successes", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("trials", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, succeeded: Bool[Tensor, " n"]) -> None:
        self.successes += succeeded.sum()
        self.trials += len(succeeded)

    def compute(self) -> Float[Tensor, ""]:
        return self.successes / self.trials

    def interval(self) -> Float[Tensor, "2"]:
        """Low and high end, over all processes."""
        with self.sync_context():
            n, share = self.trials, self.successes / self.trials
            square = CERTAIN**2
            middle = (share + square / (2 * n)) / (1 + square / n)
            half = CERTAIN / (1 + square / n) * (share * (1 - share) / n + square / (4 * n**2)).sqrt()
            return torch.stack([middle - half, middle + half]).clamp(0.0, 1.0)
