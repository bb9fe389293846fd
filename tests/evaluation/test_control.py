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
