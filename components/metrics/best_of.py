"""Best, mean and worst of several futures."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics import FrameFunction

NAMES = ("best", "mean", "worst")


class BestOf(Metric):
    """For each clip, the future whose time mean is best, the mean of all futures, and the worst.

    `compute()` gives the means by name; `curves()` the mean at each time, (horizon,), of the chosen futures.
    lower_is_better: of a distance such as LPIPS, the least is best.
    Source: SAVP (arXiv 1804.01523), section 4.2 and the official evaluation; each frame function chooses its
    own best future.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, *, function: FrameFunction, horizon: int, lower_is_better: bool) -> None:
        super().__init__()
        self.function = function
        self.lower_is_better = lower_is_better
        self.add_state("total", default=torch.zeros(3, horizon, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "b n t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> None:
        """Add n futures of each clip, in [0, 1]."""
        values = torch.stack([self.function(future, truth) for future in predicted.unbind(1)], dim=1).double()
        means = values.mean(dim=2)
        highest, lowest = means.argmax(dim=1), means.argmin(dim=1)
        best, worst = (lowest, highest) if self.lower_is_better else (highest, lowest)
        clip = torch.arange(len(values), device=values.device)
        chosen = torch.stack((values[clip, best], values.mean(dim=1), values[clip, worst]))
        self.total += chosen.sum(dim=1)
        self.count += len(values)

    def compute(self) -> dict[str, Tensor]:
        return dict(zip(NAMES, self.total.mean(dim=1) / self.count, strict=True))

    def curves(self) -> dict[str, Tensor]:
        """The chosen futures at each time, over all processes."""
        with self.sync_context():
            return dict(zip(NAMES, self.total / self.count, strict=True))
