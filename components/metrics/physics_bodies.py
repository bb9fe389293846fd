"""Whether bodies stay what they are: there, as many, as large; see physics."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.metrics.ball_parser import Tracks, out_of_sight
from components.metrics.physics import BallTruth, add_up

Sums = tuple[Float[Tensor, " b"], Float[Tensor, " b"]]


def permanence(tracks: Tracks, truth: BallTruth) -> Sums:
    """Balls found, of those in full view behind the first frame."""
    return add_up((~tracks.radius.isnan()).double()[:, 1:], truth.visible[:, 1:])


def count_error(tracks: Tracks, truth: BallTruth) -> Sums:
    """|bodies seen - bodies there|, of frames behind the first that no ball is half out of."""
    error = (tracks.count.sum(dim=-1) - truth.visible.sum(dim=-1)).abs().double()
    certain = (truth.visible | out_of_sight(truth.tracks) | ~truth.present.unsqueeze(1)).all(dim=-1)
    return add_up(error[:, 1:], certain[:, 1:])


def size_drift(tracks: Tracks, truth: BallTruth) -> Sums:
    """(largest radius - smallest) over the first, of each ball in its frames in full view.

    The first is the context's, so that what an edge's softness does to radii falls out of the ratio.
    """
    seen = truth.visible & ~tracks.radius.isnan()
    largest = torch.where(seen, tracks.radius, -torch.inf).amax(dim=1)
    smallest = torch.where(seen, tracks.radius, torch.inf).amin(dim=1)
    start = seen.int().argmax(dim=1, keepdim=True)  # the first frame that is True
    first = tracks.radius.gather(1, start).squeeze(1)
    return add_up((largest - smallest) / first, seen.sum(dim=1) > 1)
