"""How far balls are from where, and from how fast, they should be; see physics."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from components.metrics.ball_parser import WORLD_SIZE, Tracks
from components.metrics.physics import BallTruth, add_up, measured, velocities

Sums = tuple[Float[Tensor, " b"], Float[Tensor, " b"]]
JUMP = 1.0  # world units a second; over what a parser adds at 64 pixels, under what a turn or a leap does


def velocity_error(tracks: Tracks, truth: BallTruth) -> Sums:
    """|v - v^| of each ball and frame."""
    return add_up(_error(tracks, truth), measured(tracks, truth))


def velocity_error_paper(tracks: Tracks, truth: BallTruth) -> Sums:
    """|v - v^| of each ball and frame, of two balls only behind their contact (PhyWorld, section 3.1)."""
    alone = ~truth.present.all(dim=1, keepdim=True)
    return add_up(_error(tracks, truth), measured(tracks, truth) & (truth.after | alone).unsqueeze(-1))


def mean_velocity_error(tracks: Tracks, truth: BallTruth) -> Sums:
    """|mean vx - mean vx^| of each ball, once before and once behind the contact (PhyWorld's code).

    Noise of single frames averages out, so that this tells speeds apart that the other form cannot.
    """
    found, true = velocities(tracks, truth)[..., 0], velocities(truth.tracks, truth)[..., 0]
    usable = measured(tracks, truth)
    errors, counts = [], []
    for phase in (~truth.after & ~truth.contact, truth.after):
        where = usable & phase.unsqueeze(-1)
        number = where.sum(dim=1)
        errors.append(torch.where(where, found - true, 0.0).sum(dim=1).abs() / number.clamp_min(1))
        counts.append(number > 0)
    return add_up(torch.stack(errors, dim=1), torch.stack(counts, dim=1))


def position_error(tracks: Tracks, truth: BallTruth) -> Sums:
    """|x - x^| over the world's width, frames behind the first."""
    error = (tracks.centre - truth.tracks.centre).norm(dim=-1) / WORLD_SIZE
    return add_up(error[:, 1:], (truth.visible & ~error.isnan())[:, 1:])


def pass_through(tracks: Tracks, truth: BallTruth) -> Sums:
    """Clips with a contact behind which the balls go on as if there were none.

    Of the speed at which they should part, a bounce has all, balls that stick together have none, and balls
    that go through each other have as much with the other sign; less than minus one half is counted.
    """
    line = truth.tracks.centre[:, :, 1] - truth.tracks.centre[:, :, 0]
    line = (line / line.norm(dim=-1, keepdim=True))[:, 1:]
    found, true = (velocities(x, truth).diff(dim=2).squeeze(2) for x in (tracks, truth.tracks))
    usable = measured(tracks, truth).all(dim=-1) & truth.after
    parting, should = (add_up((v * line).sum(dim=-1), usable)[0] for v in (found, true))
    return add_up((parting < -should / 2).double().unsqueeze(1), usable.any(dim=1, keepdim=True))


def phantom_force(tracks: Tracks, truth: BallTruth) -> Sums:
    """Frames of free flight, no contact nor push within a frame, at which a ball's velocity jumps."""
    fall = torch.zeros_like(truth.tracks.centre[:, 0])
    fall[..., 1] = (truth.gravity * truth.seconds).unsqueeze(-1)
    found, true = (velocities(x, truth).diff(dim=1) + fall.unsqueeze(1) for x in (tracks, truth.tracks))
    forced = (true.norm(dim=-1) > JUMP / 100).double()  # NaN for a ball that is not there
    near = F.max_pool1d(forced.transpose(1, 2), 3, stride=1, padding=1).transpose(1, 2)
    usable = measured(tracks, truth)
    free = usable[:, 1:] & usable[:, :-1] & (near == 0)
    return add_up((found.norm(dim=-1) > JUMP).double(), free)


def _error(tracks: Tracks, truth: BallTruth) -> Float[Tensor, "b i 2"]:
    return (velocities(tracks, truth) - velocities(truth.tracks, truth)).norm(dim=-1)
