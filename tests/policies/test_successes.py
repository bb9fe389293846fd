"""Planning by a few successes: the expert shows them on other tables, once a task, and the plan follows."""

import numpy as np
import pytest
import torch

from components.action_distributions.gaussian import DiagonalCovariance
from components.plan_costs.success import Success
from components.planners.cem import CEM
from policies import Policy, Scene
from policies.model_control import ModelControl
from policies.simulator_control import SimulatorControl
from policies.successes import Successes
from tests.evaluation.point_world import PointWorld, expert

SIDE = 16


class Halves:
    """Success is to be in the half of the picture in which shown dots were: a classifier of one weight."""

    def __init__(self):
        self.shown = []

    def weights(self):
        return {"way": torch.zeros(1)}

    def adapted(self, successes):
        self.shown.append(successes)
        return {"way": self._place(successes).mean(0, keepdim=True)}

    def logits(self, frames, weights=None):
        way = (weights or self.weights())["way"]
        return torch.stack([torch.zeros(len(frames)), 3 * way * self._place(frames)], dim=1)

    def __call__(self, successes, frames):
        raise NotImplementedError

    @staticmethod
    def _place(frames):
        """How far to the right of the middle."""
        light = frames.mean(dim=(1, 2))
        return (light * torch.linspace(-1, 1, light.shape[1])).sum(1) / light.sum(1)


class Training:
    """Stands in for what is loaded."""

    context_frames = 5

    def __init__(self, side=SIDE):
        self.hparams, self.classifier, self.loads = {"clip": {"height": side, "width": side}}, Halves(), 0

    def to(self, device):
        return self


class SideWorld(PointWorld):
    """Starts in the middle, so that left and right are the halves. played: seeds of all resets."""

    played: list = []  # noqa: RUF012
    closed = 0

    def reset(self, *, seed=None, options=None):
        self.played.append((seed, options["task"]))
        super().reset(seed=seed, options=options)
        self.x = self.first = SIDE / 2 - 0.5
        return self._seen(), {"task": self.task, "text": f"go {self.task}", "success": False}

    def close(self):
        type(self).closed += 1


class Oracle:
    """A model that knows the world. Two frames of context."""

    context_frames, device = 2, torch.device("cpu")
    hparams = {"clip": {"height": SIDE, "width": SIDE, "action_dim": 2}}  # noqa: RUF012

    def predict(self, context, horizon, *, generator):
        video, actions = context["video"], context["actions"]
        light = video[:, -1].float().mean(dim=(1, 2))
        now = (light * torch.arange(SIDE)).sum(1) / light.sum(1)
        places = now[:, None] + actions[:, video.shape[1] - 1 :, 0].cumsum(1)
        rows = (1.5 - (torch.arange(SIDE) - places[..., None]).abs() / 2).clamp(0, 1)
        return rows[:, :, None, None].expand(-1, -1, 3, SIDE, -1)


@pytest.fixture
def training(monkeypatch):
    """What every path holds."""
    from recipes.classifier_training import ClassifierTraining

    found = Training()

    def load(path, change=None):
        found.loads += 1
        return found

    monkeypatch.setattr(ClassifierTraining, "load", load)
    monkeypatch.setattr(SideWorld, "played", [])
    return found


def planner():
    return CEM(
        distribution=DiagonalCovariance(std=[0.6, 0.0]), num_actions=2, repeat=2, num_samples=30, elites=5,
        iterations=2, clip_stds=None,
    )  # fmt: skip


def scene(task="left", **changes) -> Scene:
    made = Scene(task=task, text="", goal=None, make=SideWorld, action_width=2, expert=expert, places=None)
    return made._replace(**changes)


def play(policy, model, task):
    """Whether the task is done in the end."""
    world = SideWorld()
    observation, _ = world.reset(seed=1, options={"task": task})
    episode = policy.begin(model, scene(task), seed=0)
    for _ in range(12):
        snapshot = world.state() if policy.needs_snapshot else None
        observation, _, done, _, _ = world.step(episode.act(observation, snapshot))
        if done:
            return True
    return False


def policies():
    cost = Success(classifier="runs/some")
    return [
        (ModelControl(planner=planner(), cost=cost, replan=2), Oracle()),
        (SimulatorControl(planner=planner(), cost=Success(classifier="runs/some"), replan=2), None),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_the_plan_goes_where_successes_were_shown(training, which):
    policy, model = policies()[which]
    assert isinstance(policy, Policy)
    with torch.no_grad():  # as the suite plays
        assert play(policy, model, "left")
        assert play(policy, model, "right")
    assert len(training.classifier.shown) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_experts_play_once_a_task_on_tables_of_their_own(training, which):
    policy, model = policies()[which]
    for task in ("left", "right", "left", "left"):
        policy.begin(model, scene(task), seed=3)
    assert training.loads == 1
    assert len(training.classifier.shown) == 2
    by_task = {
        task: [seed for seed, of in SideWorld.played if of == task and seed != 0]
        for task in ("left", "right")
    }  # 0: the simulator's own copy
    for seeds in by_task.values():
        assert len(set(seeds)) == Training.context_frames == len(seeds)
        assert min(seeds) > 1000  # hashes: not among the small numbers that tables are asked for by


def test_pictures_are_the_last_frames_of_successes(training):
    successes = Successes(Success(classifier="runs/some"), "static")
    pictures = successes.pictures(scene("right"), 4)
    assert pictures.shape == (4, SIDE, SIDE, 3)
    (expected,) = {PointWorld()._drawn(SIDE / 2 - 0.5 + 4).tobytes()}
    assert all(picture.tobytes() == expected for picture in pictures)
    assert np.array_equal(successes.pictures(scene("right"), 4), pictures)
    goal = successes.goal(scene("right"))
    assert training.classifier.shown[0].shape == (5, 3, SIDE, SIDE)
    assert training.classifier.shown[0].max() == 1.0
    assert goal.shape == (1,)


def test_environments_are_closed(training):
    before = SideWorld.closed
    Successes(Success(classifier="runs/some"), "static").pictures(scene(), 2)
    assert SideWorld.closed == before + 1


def test_what_does_not_fit_is_told_in_a_line(training, tmp_path):
    for policy, model in policies():
        with pytest.raises(ValueError, match=r"no expert to show success by; take policy\.cost=goal_image"):
            policy.begin(model, scene(expert=None), seed=0)
        with pytest.raises(ValueError, match="stay: the expert succeeded on 0 of 50 tables, and 5 pictures"):
            policy.begin(model, scene("stay"), seed=0)
    training.hparams["clip"]["width"] = 48
    with pytest.raises(
        ValueError, match=r"pictures are 16x16, the classifier knows 16x48; set suite\.env\.h"
    ):
        Successes(Success(classifier="runs/some"), "static").goal(scene())


def test_a_path_without_a_classifier_is_told_in_a_line(tmp_path):
    cost = Success(classifier=str(tmp_path))
    with pytest.raises(ValueError, match=r"policy\.cost\.classifier: .*no checkpoint in it"):
        Successes(cost, "static").goal(scene())
