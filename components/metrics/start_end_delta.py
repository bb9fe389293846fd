"""How far the end of a video falls from its beginning."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics import FrameFunction

SHARE = 0.15  # of the frames, at either end


class StartEndDelta(Metric):
    """Delta = |mean of a frame function over the first 15 % of frames - mean over the last 15 %|.

    Taken for each video, then averaged over videos, so that a video that gets better does not make up for one
    that gets worse. `curve()` is the mean at each time, (horizon,).
    Source: FramePack (arXiv 2504.12626), drift metrics of the experiments.
    """

    full_state_update = False
    delta: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, *, function: FrameFunction, horizon: int) -> None:
        super().__init__()
        self.function = function
        self.frames = max(1, round(SHARE * horizon))
        self.add_state("delta", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros(horizon, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> None:
        """Add a batch of videos in [0, 1]."""
        values = self.function(predicted, truth).double()
        start, end = values[:, : self.frames].mean(dim=1), values[:, -self.frames :].mean(dim=1)
        self.delta += (start - end).abs().sum()
        self.total += values.sum(dim=0)
        self.count += len(values)

    def compute(self) -> Float[Tensor, ""]:
        return self.delta / self.count

    def curve(self) -> Float[Tensor, " t"]:
        """Mean at each time, over all processes."""
        with self.sync_context():
            return self.total / self.count
