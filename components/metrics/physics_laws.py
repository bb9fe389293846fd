"""What a law keeps: momentum and energy, before and behind a contact; see physics.

Both are compared with the simulator's at the same time, which are constant where nothing pushes or pulls. An
interval counts if all balls of the scene are measured in it. Sums are taken over all clips before they are
divided: slow clips, whose own ratio would be noise over nothing, weigh little.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from components.metrics.ball_parser import Tracks
from components.metrics.physics import BallTruth, add_up, measured, velocities

Sums = tuple[Float[Tensor, " b"], Float[Tensor, " b"]]


def momentum_error_before(tracks: Tracks, truth: BallTruth) -> Sums:
    """|sum m v - sum m v^| over sum m |v^|, until the contact or without any."""
    return _momentum(tracks, truth, ~truth.after & ~truth.contact)


def momentum_error_after(tracks: Tracks, truth: BallTruth) -> Sums:
    """The same behind the contact."""
    return _momentum(tracks, truth, truth.after)


def energy_error_before(tracks: Tracks, truth: BallTruth) -> Sums:
    """|E - E^| over E^, until the contact or without any."""
    error, true, usable = _energy(tracks, truth)
    return _ratio(error.abs(), true, usable & ~truth.after)


def energy_error_after(tracks: Tracks, truth: BallTruth) -> Sums:
    """The same behind the contact."""
    error, true, usable = _energy(tracks, truth)
    return _ratio(error.abs(), true, usable & truth.after)


def energy_gain(tracks: Tracks, truth: BallTruth) -> Sums:
    """max(0, E - E^) over E^: energy from nowhere."""
    error, true, usable = _energy(tracks, truth)
    return _ratio(error.clamp_min(0.0), true, usable)


def _momentum(tracks: Tracks, truth: BallTruth, phase: Bool[Tensor, "b i"]) -> Sums:
    mass = truth.mass[:, None, :, None]
    found, true = (mass * velocities(x, truth).nan_to_num(0.0) for x in (tracks, truth.tracks))
    error = (found - true).sum(dim=2).norm(dim=-1)
    return _ratio(error, true.norm(dim=-1).sum(dim=-1), _complete(tracks, truth) & phase)


def _energy(
    tracks: Tracks, truth: BallTruth
) -> tuple[Float[Tensor, "b i"], Float[Tensor, "b i"], Bool[Tensor, "b i"]]:
    """Excess energy, true energy, and where both are known: not over the contact, where speeds are mixed."""
    found, true = (_total_energy(x, truth) for x in (tracks, truth.tracks))
    return found - true, true, _complete(tracks, truth) & ~truth.contact


def _total_energy(tracks: Tracks, truth: BallTruth) -> Float[Tensor, "b i"]:
    height = (tracks.centre[:, 1:, :, 1] + tracks.centre[:, :-1, :, 1]) / 2
    motion = velocities(tracks, truth).square().sum(dim=-1) / 2
    energy = motion + truth.gravity.reshape(-1, 1, 1) * height
    return (truth.mass.unsqueeze(1) * energy).nan_to_num(0.0).sum(dim=-1)


def _complete(tracks: Tracks, truth: BallTruth) -> Bool[Tensor, "b i"]:
    return (measured(tracks, truth) | ~truth.present.unsqueeze(1)).all(dim=-1)


def _ratio(error: Tensor, true: Tensor, where: Tensor) -> Sums:
    return add_up(error, where)[0], torch.where(where, true, 0.0).sum(dim=1)
