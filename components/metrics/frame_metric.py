"""A frame metric over a whole data set."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics import FrameFunction


class FrameMetric(Metric):
    """Add up a frame function over batches and processes, time by time.

    `compute()` is the mean over all frames, `curve()` the mean at each time, (horizon,).
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, *, function: FrameFunction, horizon: int) -> None:
        super().__init__()
        self.function = function
        self.add_state("total", default=torch.zeros(horizon), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(horizon), dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> None:
        """Add a batch of videos in [0, 1] of `horizon` frames each."""
        values = self.function(predicted, truth)
        self.total += values.sum(dim=0)
        self.count += values.shape[0]

    def compute(self) -> Float[Tensor, ""]:
        return self.total.sum() / self.count.sum()

    def curve(self) -> Float[Tensor, " t"]:
        """Mean at each time, over all processes."""
        with self.sync_context():
            return self.total / self.count
