"""How much moves."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics.absolute_difference import absolute_difference


class MotionAmount(Metric):
    """Mean absolute difference between neighbouring frames, over that of the true videos.

    0 for a frozen video, 1 for as much change as in truth, far above 1 for flicker and noise. 1 where neither
    changes, infinite where only the prediction does. `curve()` is the same at each time; its first entry,
    which has no frame before it, repeats the second.
    """

    full_state_update = False
    change: Tensor

    def __init__(self, *, horizon: int) -> None:
        super().__init__()
        if horizon < 2:
            raise ValueError(f"motion needs at least 2 frames, got {horizon}")
        zeros = torch.zeros(2, horizon - 1, dtype=torch.float64)
        self.add_state("change", default=zeros, dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> None:
        """Add a batch of videos in [0, 1]."""
        for row, video in enumerate((predicted, truth)):
            self.change[row] += absolute_difference(video[:, 1:], video[:, :-1]).double().sum(dim=0)

    def compute(self) -> Float[Tensor, ""]:
        return _ratio(*self.change.sum(dim=1))

    def curve(self) -> Float[Tensor, " t"]:
        """Motion at each time, over all processes."""
        with self.sync_context():
            ratio = _ratio(*self.change)
        return torch.cat((ratio[:1], ratio))


def _ratio(predicted: Float[Tensor, "*t"], truth: Float[Tensor, "*t"]) -> Float[Tensor, "*t"]:
    return torch.where((predicted == 0) & (truth == 0), 1.0, predicted / truth)
