"""Laws are exactly kept by the states, and broken by as much as was done to them."""

import pytest
import torch

from components.metrics.ball_parser import Tracks, true_tracks
from components.metrics.physics import TrackMetric, ball_truth
from components.metrics.physics_bodies import count_error, permanence, size_drift
from components.metrics.physics_laws import (
    energy_error_after,
    energy_error_before,
    energy_gain,
    momentum_error_after,
    momentum_error_before,
)
from components.metrics.physics_motion import (
    mean_velocity_error,
    pass_through,
    phantom_force,
    position_error,
    velocity_error,
    velocity_error_paper,
)
from datamodules.batches import collate
from datamodules.bouncing_balls import BouncingBalls

ERRORS = (
    velocity_error,
    velocity_error_paper,
    mean_velocity_error,
    position_error,
    momentum_error_before,
    momentum_error_after,
    energy_error_before,
    energy_error_after,
    energy_gain,
    count_error,
    size_drift,
    pass_through,
    phantom_force,
)
ALL = ["uniform", "collision", "parabola"]


def states(worlds, clips=40, regime="in", pushes=False, num_frames=20):
    source = BouncingBalls(
        worlds=worlds, num_frames=num_frames, height=8, width=8, seed=0, regime=regime, pushes=pushes
    )
    return collate([source.clip("val", i) for i in range(clips)])


def truth_of(clip, first=2):
    return ball_truth(clip["state"], 1 / clip["fps"].double(), first=first)


def ratio(function, tracks, truth):
    value, weight = function(tracks, truth)
    return float(value.sum() / weight.sum())


def changed(truth, change):
    """The true tracks with their centres changed."""
    tracks = truth.tracks
    return Tracks(change(tracks.centre.clone()), tracks.radius.clone(), tracks.count.clone())


@pytest.mark.parametrize("regime", ["in", "both_out"])
@pytest.mark.parametrize("pushes", [False, True])
def test_states_keep_every_law_exactly(regime, pushes):
    truth = truth_of(states(ALL, regime=regime, pushes=pushes))
    for function in ERRORS:
        value, weight = function(truth.tracks, truth)
        assert (value == 0).all(), function.__name__
        assert weight.sum() > 0, function.__name__
    assert ratio(permanence, truth.tracks, truth) == 1


@pytest.mark.parametrize("pushes", [False, True])
def test_gravity_and_contacts_are_read_from_the_states(pushes):
    clip = states(ALL, pushes=pushes)
    truth = truth_of(clip, first=0)
    for i, name in enumerate(clip["id"]):
        assert truth.gravity[i] == pytest.approx(2.5 if "parabola" in name else 0.0, abs=1e-9)
        assert truth.contact[i].sum() <= ("collision" in name)
        if "collision" in name and not pushes:
            assert truth.contact[i].sum() == 1
            found = int(truth.contact[i].int().argmax())
            assert (clip["state"][i, found + 1, 2] - clip["state"][i, found, 2]).abs() > 0
            assert truth.after[i].tolist() == [False] * (found + 1) + [True] * (18 - found)


def test_a_contact_in_the_context_is_remembered():
    clip = states(["collision"])
    whole, late = truth_of(clip, first=0), truth_of(clip, first=15)
    torch.testing.assert_close(late.after, whole.after[:, 15:])
    assert late.after[:, -1].all()


def test_a_speed_too_high_is_measured_exactly():
    truth = truth_of(states(["uniform"]))
    start = truth.tracks.centre[:, :1]
    tracks = changed(truth, lambda centre: start + 1.2 * (centre - start))
    speed = (truth.tracks.centre[:, 1, 0, 0] - truth.tracks.centre[:, 0, 0, 0]) / 0.1
    value, weight = mean_velocity_error(tracks, truth)
    torch.testing.assert_close(value / weight, 0.2 * speed)
    value, weight = velocity_error(tracks, truth)
    torch.testing.assert_close(value / weight, 0.2 * speed)
    assert ratio(momentum_error_before, tracks, truth) == pytest.approx(0.2)
    assert ratio(energy_error_before, tracks, truth) == pytest.approx(0.44)
    assert ratio(energy_gain, tracks, truth) == pytest.approx(0.44)
    slower = changed(truth, lambda centre: start + 0.8 * (centre - start))
    assert ratio(energy_error_before, slower, truth) == pytest.approx(0.36)
    assert ratio(energy_gain, slower, truth) == 0


def test_energy_counts_height():
    truth = truth_of(states(["parabola"]))
    lift = torch.tensor([0.0, 0.5], dtype=torch.float64)
    tracks = changed(truth, lambda centre: centre + lift)
    value, _ = energy_gain(tracks, truth)
    expected = 2.5 * 0.5 * truth.mass[:, 0] * (truth.visible[:, 1:, 0] & truth.visible[:, :-1, 0]).sum(dim=1)
    torch.testing.assert_close(value, expected)
    kinetic_free = changed(truth, lambda centre: centre * 0 + centre[:, :1])  # stands still, falls not
    assert ratio(energy_gain, kinetic_free, truth) < ratio(energy_error_before, kinetic_free, truth)


def test_the_papers_error_of_two_balls_starts_behind_the_contact():
    truth = truth_of(states(["collision"]))
    before = ~truth.after & ~truth.contact
    steps = torch.where(before, 0.05, 0.0)
    offset = torch.cat((torch.zeros_like(steps[:, :1]), steps.cumsum(dim=1)), dim=1)
    tracks = changed(truth, lambda centre: centre + torch.stack((offset, 0 * offset), -1).unsqueeze(2))
    assert ratio(velocity_error_paper, tracks, truth) == pytest.approx(0, abs=1e-12)
    assert ratio(velocity_error, tracks, truth) > 0.1
    assert ratio(mean_velocity_error, tracks, truth) > 0.2


def test_balls_never_found_are_told_by_permanence_alone():
    truth = truth_of(states(ALL))
    nothing = Tracks(
        torch.full_like(truth.tracks.centre, torch.nan),
        torch.full_like(truth.tracks.radius, torch.nan),
        torch.zeros_like(truth.tracks.count),
    )
    assert ratio(permanence, nothing, truth) == 0
    assert ratio(count_error, nothing, truth) >= 1
    for function in ERRORS:
        value, weight = function(nothing, truth)
        assert value.isfinite().all(), function.__name__
        if function is not count_error:
            assert weight.sum() == 0, function.__name__


def test_one_frame_unseen_costs_two_velocities_and_no_error():
    truth = truth_of(states(["uniform"], clips=1, num_frames=12))
    tracks = changed(truth, lambda centre: centre)
    assert truth.visible[0, 3:6, 0].all()
    tracks.centre[0, 4, 0], tracks.radius[0, 4, 0] = torch.nan, torch.nan
    value, weight = velocity_error(tracks, truth)
    assert weight == velocity_error(truth.tracks, truth)[1] - 2
    assert value == 0
    lost = 1 / truth.visible[0, 1:, 0].sum()
    assert ratio(permanence, tracks, truth) == pytest.approx(1 - float(lost))


def test_bodies_too_many_are_counted():
    truth = truth_of(states(["uniform"], clips=4))
    tracks = Tracks(truth.tracks.centre, truth.tracks.radius, truth.tracks.count + torch.tensor([1, 0]))
    assert ratio(count_error, tracks, truth) == 1


def test_growth_is_the_share_of_the_first_radius():
    truth = truth_of(states(["collision"], num_frames=8))
    radius = truth.tracks.radius * torch.linspace(1.0, 1.2, 6, dtype=torch.float64)[:, None]
    tracks = Tracks(truth.tracks.centre, radius, truth.tracks.count)
    shown = truth.visible.all(dim=(1, 2))
    value, weight = size_drift(tracks, truth)
    torch.testing.assert_close((value / weight)[shown], torch.full((int(shown.sum()),), 0.2).double())
    for function in (velocity_error, energy_error_after, momentum_error_after):
        assert ratio(function, tracks, truth) == 0


def test_batches_and_processes_add_up_and_groups_stay_apart():
    clip = states(ALL, clips=30)
    group = torch.tensor([ALL.index(name.split("/")[1]) for name in clip["id"]])
    noise = 0.05 * torch.randn(30, 20, 1, 1, generator=torch.Generator().manual_seed(0)).double()

    def fill(metric, rows):
        tracks = true_tracks(clip["state"][rows])
        noisy = Tracks(tracks.centre + noise[rows], tracks.radius, tracks.count)
        truth = ball_truth(clip["state"][rows], 1 / clip["fps"][rows].double(), first=0)
        metric.update(noisy, truth, group[rows])
        return metric

    def metric():
        return TrackMetric(function=velocity_error, groups=4)

    whole = fill(metric(), torch.arange(30))
    halves = fill(fill(metric(), torch.arange(17)), torch.arange(17, 30))
    other = [fill(metric(), rows) for rows in (torch.arange(0, 30, 2), torch.arange(1, 30, 2))]
    assert other[0]._reductions["value"] is other[0]._reductions["weight"]
    other[0]._reduce_states({"value": other[1].value, "weight": other[1].weight})
    for parts in (halves, other[0]):
        torch.testing.assert_close(parts.compute(), whole.compute())
        torch.testing.assert_close(parts.by_group(), whole.by_group(), equal_nan=True)
    assert whole.by_group()[3].isnan()
    alone = fill(metric(), torch.nonzero(group == 1).flatten())
    torch.testing.assert_close(alone.compute(), whole.by_group()[1])
    assert whole.weights().sum() == whole.weight.sum()
    whole.reset()
    assert whole.weight.sum() == 0
