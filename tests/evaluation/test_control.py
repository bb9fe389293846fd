"""Success in an environment: who acts, what is counted, what happens when an environment crashes."""

from functools import partial

import numpy as np
import pytest

from components.metrics.success_rate import SuccessRate
from environments.workers import Crashed, Failed, Workers
from evaluation.control import ControlSuite
from policies import Policy
from policies.expert import Expert
from tests.evaluation.point_world import PointWorld, expert


class Still:
    """Does nothing."""

    needs_model = False
    needs_snapshot = True
    seen: list = []  # noqa: RUF012

    def begin(self, model, scene, *, seed):
        self.scene = scene
        return self

    def act(self, observation, snapshot):
        self.seen.append((self.scene.task, snapshot[3]))
        return np.zeros(2, dtype=np.float32)


def test_an_expert_succeeds_and_who_does_nothing_does_not():
    found = ControlSuite(env=PointWorld, policy=Expert(), tasks=["left", "right"], episodes=3, processes=2)(
        None
    )
    assert found.values["success"] == found.values["success_go"] == 1
    assert found.values["success_low"] == pytest.approx(0.61, abs=0.01)  # of six
    assert found.values["steps"] == 4
    assert found.values["crashes"] == 0
    assert sorted(found.videos) == ["success_1_left", "success_2_right", "success_3_left"]
    assert found.videos["success_1_left"].shape == (5, 3, 16, 16)
    found = ControlSuite(env=PointWorld, policy=Still(), tasks=["left"], episodes=2, films=1)(None)
    assert found.values["success"] == 0
    assert np.isnan(found.values["steps"])
    assert list(found.videos) == ["failure_1_left"]
    assert Still.seen == [("left", step) for step in range(12)] * 2


def test_groups_of_tasks_and_every_task_by_default():
    found = ControlSuite(env=PointWorld, policy=Expert(), episodes=1, films=0)(None)
    assert found.values["success_go"] == 1
    assert found.values["success_rest"] == 0
    assert found.values["success"] == pytest.approx(2 / 3)


def test_a_crashed_environment_begins_anew_and_is_counted(tmp_path):
    crash = tmp_path / "crash"
    crash.touch()
    suite = ControlSuite(
        env=partial(PointWorld, crash=str(crash)), policy=Expert(), tasks=["left"], episodes=3, processes=2
    )
    found = suite(None)
    assert found.values["crashes"] == 1
    assert found.values["success"] == 1
    assert "3 episodes" in found.notes[0]


def test_mistakes_are_told_in_a_line():
    with pytest.raises(ValueError, match="no task up; there are left, right, stay"):
        ControlSuite(env=PointWorld, policy=Expert(), tasks=["up"])(None)
    with pytest.raises(ValueError, match="give at least 1"):
        ControlSuite(env=PointWorld, policy=Expert(), episodes=0)
    with pytest.raises(ValueError, match="TypeError"):
        ControlSuite(env=partial(PointWorld, depth=3), policy=Expert(), tasks=["left"])(None)
    assert isinstance(Expert(), Policy)


def test_workers_answer_in_any_order_and_say_what_went_wrong():
    workers = Workers(PointWorld, 2)
    try:
        for place in (0, 1):
            workers.ask(place, "reset", seed=place, options={"task": "left"})
        assert workers.answer(1)[1]["task"] == "left"
        workers.ask(1, "nothing_of_the_kind")
        with pytest.raises(Failed, match="AttributeError"):
            workers.answer(1)
        assert workers.answer(0)[0]["static"].shape == (16, 16, 3)
        workers._processes[0].kill()
        workers._processes[0].join()
        workers.ask(0, "state")
        with pytest.raises(Crashed):
            workers.answer(0)
        workers.ask(0, "tasks")
        assert "left" in workers.answer(0)
        assert workers.crashes == 1
    finally:
        workers.close()


def test_wilson_intervals():
    rate = SuccessRate()
    import torch

    rate.update(torch.tensor([True] * 8 + [False] * 2))
    assert float(rate.compute()) == pytest.approx(0.8)
    assert rate.interval().tolist() == pytest.approx([0.4902, 0.9433], abs=1e-4)
    none = SuccessRate()
    none.update(torch.zeros(10, dtype=torch.bool))
    assert none.interval().tolist() == pytest.approx([0.0, 0.2775], abs=1e-4)
    assert expert(None, "left")[0] == -1


def planner(**changes):
    from components.action_distributions.gaussian import FullCovariance
    from components.planners.cem import CEM

    settings = {"num_actions": 2, "repeat": 2, "num_samples": 20, "elites": 4, "iterations": 2} | changes
    return CEM(distribution=FullCovariance(std=[0.8, 0.0]), clip_stds=None, **settings)


def test_planning_with_the_simulator_reaches_the_goal():
    from components.plan_costs.goal_image import GoalImage
    from policies.simulator_control import SimulatorControl

    policy = SimulatorControl(planner=planner(), cost=GoalImage(), replan=2)
    found = ControlSuite(env=PointWorld, policy=policy, tasks=["left", "right"], episodes=2)(None)
    assert found.values["success"] == 1


class Oracle:
    """A model that knows the world: the dot is where the actions take it. Two frames of context."""

    context_frames = 2
    device = "cpu"
    skip = 1

    def __init__(self):
        import torch

        self.device = torch.device("cpu")
        self.hparams = {"clip": {"height": 16, "width": 16, "action_dim": 2 * self.skip, "num_frames": 8}}
        self.asked = []

    def predict(self, context, horizon, *, generator):
        import torch

        video, actions = context["video"], context["actions"]
        assert actions.shape[1] == video.shape[1] - 1 + horizon
        self.asked.append((video, actions))
        places = (video[:, -1, 0, 0].float() * torch.arange(16.0)).sum(1) / video[:, -1, 0, 0].float().sum(1)
        moves = actions[:, video.shape[1] - 1 :].unflatten(2, (-1, 2))[..., 0].sum(2)
        x = places[:, None] + moves.cumsum(1)
        shade = (1.5 - (torch.arange(16.0) - x[..., None]).abs() / 2).clamp(0, 1)
        return shade[:, :, None, None].expand(-1, -1, 3, 16, -1)


@pytest.mark.parametrize("skip", [1, 2])
def test_planning_with_a_model_reaches_the_goal(skip):
    from components.plan_costs.goal_image import GoalImage
    from policies.model_control import ModelControl

    class Model(Oracle):
        pass

    Model.skip = skip
    model = Model()
    many = [0.8, 0.0] * skip
    from components.action_distributions.gaussian import FullCovariance
    from components.planners.cem import CEM

    cem = CEM(
        distribution=FullCovariance(std=many), num_actions=2, repeat=2, num_samples=20, elites=4,
        iterations=2, clip_stds=None,
    )  # fmt: skip
    policy = ModelControl(planner=cem, cost=GoalImage(), replan=1)
    found = ControlSuite(env=partial(PointWorld, max_steps=20), policy=policy, tasks=["right"], episodes=2)(
        model
    )
    assert found.values["success"] == 1
    video, actions = model.asked[0]
    assert video.shape[:2] == (20, 2)
    assert not actions[:, 0].any()  # it rested until it had seen as much as it starts from


def test_a_model_that_does_not_fit_is_told_in_a_line():
    from components.plan_costs.goal_image import GoalImage
    from components.plan_costs.pixel_distance import PixelDistance
    from policies.model_control import ModelControl

    policy = ModelControl(planner=planner(), cost=GoalImage())
    model = Oracle()
    for dim, told in ((0, "trained without actions"), (3, "actions of 3 numbers")):
        model.hparams["clip"]["action_dim"] = dim
        with pytest.raises(ValueError, match=told):
            ControlSuite(env=PointWorld, policy=policy, tasks=["left"], episodes=1)(model)
    model.hparams["clip"]["action_dim"] = 2
    policy = ModelControl(planner=planner(), cost=PixelDistance())
    with pytest.raises(ValueError, match="Oracle follows no designated pixels"):
        ControlSuite(env=PointWorld, policy=policy, tasks=["left"], episodes=1)(model)


class DesignatedPoint(PointWorld):
    """Tells by what camera it was asked, as the row."""

    def __init__(self, *, cameras=("static", "other"), **settings):
        super().__init__(**settings)
        self.cameras = cameras

    def designated(self, camera):
        row = float(camera == "other")
        return np.array([[row, self.x]]), np.array([[row, self.first - 4]])

    def _seen(self):
        return super()._seen() | {"other": self._drawn(self.x)}


class Watcher:
    """Does what its eyes tell: one to the left, while it keeps what it saw."""

    needs_model = needs_snapshot = False
    camera = "other"

    def __init__(self, *, needs_places):
        self.needs_places, self.scenes, self.seen = needs_places, [], []

    def begin(self, model, scene, *, seed):
        self.scenes.append(scene)
        return self

    def act(self, observation, snapshot):
        self.seen.append(observation.get("designated"))
        return np.array([-1, 0], dtype=np.float32)


def test_designated_pixels_are_handed_over_by_the_policys_own_camera():
    policy = Watcher(needs_places=True)
    ControlSuite(env=DesignatedPoint, policy=policy, tasks=["left"], episodes=1)(None)
    now, goal = policy.scenes[0].places
    assert now[0, 0] == goal[0, 0] == 1
    assert now[0, 1] - goal[0, 1] == 4
    np.testing.assert_array_equal(np.stack(policy.seen)[:, 0], [[1, now[0, 1] - step] for step in range(4)])


def test_places_are_kept_from_who_does_not_need_them():
    policy = Watcher(needs_places=False)
    ControlSuite(env=DesignatedPoint, policy=policy, tasks=["left"], episodes=1)(None)
    assert policy.scenes[0].places is not None
    assert policy.seen == [None] * 4
    policy = Still()
    ControlSuite(env=PointWorld, policy=policy, tasks=["left"], episodes=1)(None)
    assert policy.scene.places is None
