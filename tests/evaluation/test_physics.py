"""Every broken law moves its metric and leaves the others at the floor; other clips get what they can."""

from functools import cache

import pytest
import torch
from torch import Tensor

from components.clip import Clip
from components.metrics.ball_parser import Tracks, parse_soft
from components.metrics.physics import TrackFunction, ball_truth
from components.metrics.physics_bodies import permanence, size_drift
from components.metrics.physics_laws import (
    energy_error_after,
    energy_error_before,
    energy_gain,
    momentum_error_after,
    momentum_error_before,
)
from components.metrics.physics_motion import (
    pass_through,
    phantom_force,
    position_error,
    velocity_error,
)
from datamodules.batches import collate
from datamodules.bouncing_balls import BouncingBalls
from evaluation import Report, Suite
from evaluation.physics import PhysicsSuite
from tests.evaluation.violations import CONTEXT, VIOLATIONS, render

SIZE, SOFTNESS, FRAMES, CLIPS = 48, 0.5, 20, 16
FLOOR = 0.05  # of metrics that a violation must leave alone

# the metrics that must tell a violated clip from a true one, and those that must not move
MOVED: dict[str, tuple[TrackFunction, ...]] = {
    "teleport": (position_error, velocity_error, phantom_force, momentum_error_before),
    "vanish": (permanence,),
    "energy gain": (energy_error_after, energy_gain, velocity_error),
    "pass-through": (pass_through, velocity_error, momentum_error_after),
    "mid-air turn": (phantom_force, velocity_error, momentum_error_before),
    "growth": (size_drift,),
    "time reversal": (velocity_error, momentum_error_after, position_error),
    "frozen": (velocity_error, energy_error_before, position_error),
}
UNMOVED: dict[str, tuple[TrackFunction, ...]] = {
    "teleport": (size_drift, energy_error_after, momentum_error_after, pass_through),
    "vanish": (velocity_error, position_error, size_drift, energy_error_before, phantom_force),
    "energy gain": (size_drift, energy_error_before, momentum_error_before, pass_through, phantom_force),
    "pass-through": (energy_error_before, momentum_error_before),
    "mid-air turn": (size_drift, energy_error_before, pass_through),
    "growth": (velocity_error, position_error, energy_error_after, momentum_error_after, phantom_force),
    "time reversal": (),
    "frozen": (size_drift, pass_through, phantom_force, energy_gain),
}


@cache
def clips(*worlds: str, num_frames: int = FRAMES, **changes: str | bool) -> Clip:
    source = BouncingBalls(
        worlds=list(worlds),
        num_frames=num_frames,
        height=SIZE,
        width=SIZE,
        seed=0,
        softness=SOFTNESS,
        **changes,
    )
    return collate([source.clip("test", i) for i in range(CLIPS)])


def future(clip: Clip) -> Tensor:
    return clip["video"][:, CONTEXT:].float() / 255


@cache
def broken(name: str) -> Tensor:
    """The collision clips, context and all, with one law broken."""
    states = clips("collision")["state"].numpy().reshape(CLIPS, FRAMES, 2, 5)
    return torch.stack([render(VIOLATIONS[name](s), size=SIZE, softness=SOFTNESS) for s in states])


@cache
def report_of(name: str) -> Report:
    return judge(broken(name)[:, CONTEXT:], clips("collision"))


def judge(predicted: Tensor, clip: Clip) -> Report:
    suite = PhysicsSuite()
    suite.update(predicted.unsqueeze(1), future(clip), clip)
    return suite.compute()


@cache
def tracks_of(name: str) -> Tracks:
    video = broken(name) if name in VIOLATIONS else clips("collision")["video"].float() / 255
    return parse_soft(video[:, CONTEXT - 1 :], softness=SOFTNESS)


def per_clip(function: TrackFunction, name: str) -> Tensor:
    clip = clips("collision")
    truth = ball_truth(clip["state"], 1 / clip["fps"].double(), first=CONTEXT - 1)
    value, weight = function(tracks_of(name), truth)
    return (value / weight)[weight > 0]


def separated(wrong: Tensor, right: Tensor) -> float:
    """Area under the ROC curve: how often a violated clip scores above a true one."""
    pairs = wrong[:, None] - right[None]
    return float((pairs > 0).double().mean() + (pairs == 0).double().mean() / 2)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_broken_law_moves_its_metrics_and_no_other(name):
    for function in MOVED[name]:
        wrong, right = per_clip(function, name), per_clip(function, "truth")
        sign = -1 if function is permanence else 1
        assert separated(sign * wrong, sign * right) > 0.95, function.__name__
    values = report_of(name).values
    for function in UNMOVED[name]:
        assert values[function.__name__] < FLOOR, function.__name__
    if name in ("teleport", "energy gain", "growth", "frozen"):
        assert values["permanence"] == 1


def test_unbroken_clips_rendered_again_are_the_truth():
    clip = clips("collision")
    states = clip["state"].numpy().reshape(CLIPS, FRAMES, 2, 5)
    again = torch.stack([render(state, size=SIZE, softness=SOFTNESS) for state in states])
    assert (again == clip["video"].float() / 255).all()


def test_physics_iq_misses_what_the_laws_see():
    """Kept as a record: a clip played backwards keeps most of the score, an energy gain nearly all."""
    scores = {name: report_of(name).values for name in VIOLATIONS}
    assert 55 < scores["time reversal"]["physics_iq"] < 80
    assert scores["energy gain"]["physics_iq"] > 90
    assert scores["growth"]["physics_iq"] > 90
    assert scores["frozen"]["physics_iq"] < 5
    assert scores["time reversal"]["velocity_error"] > 100 * scores["time reversal"]["velocity_error_floor"]


@pytest.mark.parametrize("changes", [{}, {"regime": "both_out"}, {"pushes": True}])
def test_the_true_video_scores_the_floor(changes):
    clip = clips("uniform", "collision", "parabola", **changes)
    report = judge(future(clip), clip)
    laws = [name for name in report.values if f"{name}_floor" in report.values]
    assert len(laws) == 14 + 3
    for name in laws:
        assert report.values[name] == report.values[f"{name}_floor"], name
    assert report.values["permanence"] == 1
    assert report.values["count_error"] == 0
    assert report.values["physics_iq"] == 100
    assert report.values["velocity_error"] < 0.12
    assert report.values["velocity_error"] < report.values["velocity_error_paper"]
    assert len(report.notes) == 1


def test_it_is_a_suite_with_the_groups_of_the_protocol():
    suite = PhysicsSuite(unseen_worlds=["parabola"])
    assert isinstance(suite, Suite)
    assert list(suite.groups) == ["in", "radius_out", "velocity_out", "both_out", "unseen_parabola"]
    for changes in suite.groups.values():
        arguments = {"worlds": ["uniform"], "num_frames": 4, "height": 8, "width": 8, "seed": 0} | changes
        BouncingBalls(**arguments).clip("test", 0)
    with pytest.raises(ValueError, match="at least 1 sample"):
        PhysicsSuite(samples=0)


def test_what_a_group_cannot_show_is_left_out():
    clip = clips("parabola")
    values = judge(future(clip), clip).values
    for name in ("pass_through", "momentum_error_after", "energy_error_after", "velocity_error/parabola"):
        assert name not in values
    assert "energy_gain" in values


def test_batches_and_futures_count_alike_and_reset_forgets():
    clip, suite = clips("collision"), PhysicsSuite(samples=2)
    truth = future(clip)
    for part in (slice(0, 10), slice(10, CLIPS)):
        batch = {key: value[part] for key, value in clip.items()}
        both = torch.stack((broken("teleport")[part, CONTEXT:], truth[part]), dim=1)
        suite.update(both, truth[part], batch)
    values = suite.compute().values
    alone = report_of("teleport").values
    half = (alone["velocity_error"] + alone["velocity_error_floor"]) / 2
    assert values["velocity_error"] == pytest.approx(half)
    assert values["velocity_error_floor"] == pytest.approx(alone["velocity_error_floor"])
    suite.reset()
    suite.update(truth.unsqueeze(1).expand(-1, 3, -1, -1, -1, -1), truth, clip)
    report = suite.compute()
    assert report.values["velocity_error"] == report.values["velocity_error_floor"]
    assert len(report.notes) == 1


def test_lost_balls_are_noted_not_hidden():
    clip = clips("collision")
    report = judge(torch.ones_like(future(clip)), clip)
    assert report.values["permanence"] == 0
    assert report.values["velocity_error"] != report.values["velocity_error"]  # NaN
    assert report.values["velocity_error_paper"] > 1
    assert any("100.0% of the velocities" in note for note in report.notes)


def test_other_videos_get_agreement_and_a_note():
    clip = clips("collision")
    other: Clip = {"video": clip["video"], "fps": clip["fps"], "id": clip["id"]}
    robot: Clip = {**clip, "id": ["robot/1"] * CLIPS}
    for seen in (other, robot):
        report = judge(broken("frozen")[:, CONTEXT:], seen)
        assert list(report.values)[:2] == ["physics_iq", "physics_iq_stable"]
        assert len(report.values) == 6
        assert any("no simulated states" in note for note in report.notes)
