"""Whether videos that should differ still do."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics.video_drift_error import CHUNKS

GRID = 16  # cells a side; what a video shows, not its texture


class Spread(Metric):
    """How differently the videos of a set end, over how differently the true ones do.

    The mean picture of the last tenth of each video, on 16x16 cells; its standard deviation over videos, root
    mean square over cells and channels. 0 where all videos have become one, 1 where they differ as in truth.
    Not a number for a single video or where all true videos end alike.
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        picture = torch.zeros(2, 3, GRID, GRID, dtype=torch.float64)
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", default=picture, dist_reduce_fx="sum")
        self.add_state("square", default=picture.clone(), dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> None:
        """Add a batch of videos in [0, 1]."""
        frames = max(1, truth.shape[1] // CHUNKS)
        for row, video in enumerate((predicted, truth)):
            # float64 keeps a difference of nearly equal squares exact enough
            ending = F.adaptive_avg_pool2d(video[:, -frames:].double().mean(dim=1), GRID)
            self.total[row] += ending.sum(dim=0)
            self.square[row] += ending.square().sum(dim=0)
        self.count += len(truth)

    def compute(self) -> Float[Tensor, ""]:
        mean = self.total / self.count
        variance = (self.square / self.count - mean.square()).clamp_min(0).mean(dim=(1, 2, 3))
        variance = variance.where(variance > 1e-14, 0.0)  # rounding of equal pictures
        return (variance[0] / variance[1].where(variance[1] > 0, torch.nan)).sqrt()
