"""Laws as numbers: balls that were tracked in a video against the simulator that made the truth.

| function | what it adds up | the right value | unit |
|---|---|---|---|
| velocity_error | \\|v - v^\\| at each frame | 0 | world units a second |
| velocity_error_paper | the same, after the contact only where two balls meet | 0 | the same |
| mean_velocity_error | \\|mean of vx - mean of vx^\\|, before and after the contact | 0 | the same |
| position_error | \\|x - x^\\| over the world's width | 0 | - |
| momentum_error_before, _after | \\|sum m v - sum m v^\\| over sum m \\|v^\\| | 0 | - |
| energy_error_before, _after | \\|E - E^\\| over E^, E = sum m v^2 / 2 + m g y | 0 | - |
| energy_gain | max(0, E - E^) over E^ | 0 | - |
| permanence | balls found, of those in full view | 1 | share |
| count_error | \\|bodies seen - bodies there\\| | 0 | bodies a frame |
| size_drift | (largest radius - smallest) over the first | 0 | - |
| pass_through | contacts after which the balls go on as before | 0 | share |
| phantom_force | free flight with a jump of the velocity | 0 | share |

^ is the truth. Masses are true radii squared, so that a ball that grows is told by size_drift alone. Only
balls in full view count. Velocities are differences of two frames, the truth's likewise, so that the states
themselves score exactly 0 (or 1); a ball that was not found leaves no velocity, and permanence tells.
Sources: PhyWorld (arXiv 2411.02385) for the velocity errors; the others are plain mechanics.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from components.metrics.ball_parser import Tracks, fully_visible, true_tracks

SMALL = 1e-6  # change of a velocity that nothing but rounding explains


@dataclass(frozen=True)
class BallTruth:
    """What the simulator knows of some frames and of the intervals between them.

    present: balls that are in the scene; visible: those in full view.
    contact: whether two balls meet in an interval (i = t - 1 of them); after: all intervals behind it.
    gravity: downwards, world units a second squared; seconds: from frame to frame.
    """

    tracks: Tracks
    present: Bool[Tensor, "b 2"]
    visible: Bool[Tensor, "b t 2"]
    contact: Bool[Tensor, "b i"]
    after: Bool[Tensor, "b i"]
    gravity: Float[Tensor, " b"]
    seconds: Float[Tensor, " b"]

    @property
    def mass(self) -> Float[Tensor, "b 2"]:
        """Square of the radius; 0 for a ball that is not there."""
        return self.tracks.radius[:, 0].nan_to_num(0.0).square()


@runtime_checkable
class TrackFunction(Protocol):
    """What each clip adds to a ratio of two sums: (value, weight)."""

    def __call__(
        self, tracks: Tracks, truth: BallTruth
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]: ...


class TrackMetric(Metric):
    """Add up a track function over batches and processes, for each group of clips.

    `compute()` is the ratio over all clips, `by_group()` over those of each group, (groups,);
    NaN without any.
    """

    full_state_update = False
    value: Tensor
    weight: Tensor

    def __init__(self, *, function: TrackFunction, groups: int) -> None:
        super().__init__()
        self.function = function
        for name in ("value", "weight"):
            self.add_state(name, default=torch.zeros(groups, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tracks: Tracks, truth: BallTruth, group: Int[Tensor, " b"]) -> None:
        """Add clips, each to its group."""
        value, weight = self.function(tracks, truth)
        self.value.index_add_(0, group, value)
        self.weight.index_add_(0, group, weight)

    def compute(self) -> Float[Tensor, ""]:
        return self.value.sum() / self.weight.sum()

    def by_group(self) -> Float[Tensor, " groups"]:
        """Ratio of each group, over all processes."""
        with self.sync_context():
            return self.value / self.weight

    def weights(self) -> Float[Tensor, " groups"]:
        """What the ratio of each group rests on: how many frames, clips or balls, or how much energy."""
        with self.sync_context():
            return self.weight.clone()


def ball_truth(state: Float[Tensor, "b t 10"], seconds: Float[Tensor, " b"], *, first: int) -> BallTruth:
    """Truth from frame `first` on; what came before tells whether the balls have met already.

    Nothing but a contact changes the velocity of ball 2, since only ball 1 is ever pushed. Of a single ball
    the median fall gives gravity, pushed now and then or not.
    """
    state = state.double()
    tracks = true_tracks(state)
    present = state[:, 0].unflatten(-1, (2, 5))[..., 4] > 0
    jumps = state[..., 7:9].diff(dim=1).norm(dim=-1) > SMALL
    contact = jumps & present.all(dim=1, keepdim=True)
    met = contact.long().cumsum(dim=1) > 0
    fall = state[..., 3].diff(dim=1).median(dim=1).values
    gravity = torch.where(present[:, 1], 0.0, -fall / seconds.double())
    kept = Tracks(tracks.centre[:, first:], tracks.radius[:, first:], tracks.count[:, first:])
    return BallTruth(
        tracks=kept,
        present=present,
        visible=fully_visible(kept),
        contact=contact[:, first:],
        after=(met & ~contact)[:, first:],
        gravity=gravity,
        seconds=seconds.double(),
    )


def velocities(tracks: Tracks, truth: BallTruth) -> Float[Tensor, "b i 2 2"]:
    """Differences of neighbouring frames a second."""
    return tracks.centre.diff(dim=1) / truth.seconds.reshape(-1, 1, 1, 1)


def measured(tracks: Tracks, truth: BallTruth) -> Bool[Tensor, "b i 2"]:
    """Intervals at both ends of which a ball is in full view in the truth, and was found."""
    seen = truth.visible & ~tracks.centre.isnan().any(dim=-1)
    return seen[:, 1:] & seen[:, :-1]


def add_up(values: Tensor, where: Tensor) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Sum of the values of each clip that count, and how many they are; whatever the others are, NaN too."""
    kept = torch.where(where, values, 0.0)
    return kept.flatten(1).sum(dim=1), where.flatten(1).sum(dim=1).to(kept)
