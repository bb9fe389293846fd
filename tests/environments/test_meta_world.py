"""Meta-World as an environment: its own steps, exact snapshots, experts, pictures the right way up."""

import copy
import importlib.util
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

if importlib.util.find_spec("metaworld") is None:  # to import it would choose MuJoCo's GL back end
    pytest.skip("metaworld is missing", allow_module_level=True)

from environments import UnavailableError, register
from environments.meta_world import MetaWorld
from environments.meta_world_tasks import TASKS
from environments.table_expert import RandomActions


@pytest.fixture(scope="module")
def world():
    try:
        made = MetaWorld(cameras=("static", "wrist"))
        made.reset(seed=0, options={"task": "push"})
    except UnavailableError as reason:
        pytest.skip(str(reason))
    yield made
    made.close()


@pytest.fixture(scope="module")
def blind():
    """Two that draw nothing."""
    worlds = MetaWorld(cameras=()), MetaWorld(cameras=())
    yield worlds
    for made in worlds:
        made.close()


def chance(seed: int, count: int) -> list[np.ndarray]:
    act = RandomActions(seed=seed, width=4)
    return [act() for _ in range(count)]


def told(world, actions) -> list:
    return [world.step(action) for action in actions]


def same(one, other) -> bool:
    return all(
        all(np.array_equal(a[0][key], b[0][key]) for key in a[0]) and a[1:] == b[1:]
        for a, b in zip(one, other, strict=True)
    )


def test_gymnasium_accepts_it_and_makes_it_by_its_id(world, monkeypatch):
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    monkeypatch.setattr("environments.meta_world.TASKS", {"door-close": TASKS["door-close"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity.*|.*symmetric.*|.*dtype.*|.*spec.*")
        check_env(world, skip_render_check=True)
    register()
    made = gymnasium.make("video-world-models/MetaWorld-v0", height=32, width=48)
    observation, info = made.reset(seed=0, options={"task": "door-close"})
    assert observation["static"].shape == (32, 48, 3)
    assert observation["state"].dtype == np.float32
    assert info["text"] in TASKS["door-close"].texts
    assert (info["task"], info["success"]) == ("door-close", False)
    made.close()


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_finishes_every_task(blind, task):
    world, _ = blind
    observation, info = world.reset(seed=1, options={"task": task})
    assert info["success"] is False
    for _ in range(world.max_steps):
        observation, reward, done, over, info = world.step(world.expert(observation["state"], task))
        assert done == info["success"]
        assert 0 <= reward <= 10
        if done or over:
            break
    assert done
    assert not over


@pytest.mark.parametrize(
    "task", ["push", "drawer-open", "door-close", "window-open", "faucet-close", "handle-press", "pick-place"]
)
def test_what_follows_a_start_or_a_snapshot_is_the_same_in_every_world(blind, task):
    """Where things touch, too: snapshots are taken on the expert's way."""
    world, other = blind
    world.reset(seed=9, options={"task": task})
    told(world, chance(0, 5))
    observation, info = world.reset(seed=2, options={"task": task})
    first, same_info = other.reset(seed=2, options={"task": task})
    assert info == same_info
    assert np.array_equal(observation["state"], first["state"])
    for count in (10, 15, 15):
        for _ in range(count):
            action = world.expert(observation["state"], task)
            step = world.step(action)
            assert same([step], [other.step(action)])
            observation = step[0]
        snapshot = world.state()
        expected = told(world, chance(1, 5))
        back = world.restore(copy.deepcopy(snapshot))
        assert np.array_equal(back["state"], observation["state"])
        assert same(told(world, chance(1, 5)), expected)
        told(other, chance(2, 3))
        other.restore(pickle.loads(pickle.dumps(snapshot)))
        assert same(told(other, chance(1, 5)), expected)
        world.restore(snapshot)
        other.restore(snapshot)


def test_pictures_come_back_with_a_snapshot_of_another_task(world):
    observation, _ = world.reset(seed=3, options={"task": "drawer-open"})
    for _ in range(30):
        observation, *_ = world.step(world.expert(observation["state"], "drawer-open"))
    snapshot = world.state()
    expected = told(world, chance(3, 4))
    world.reset(seed=4, options={"task": "drawer-open"})
    world.reset(seed=4, options={"task": "reach"})
    back = world.restore(snapshot)
    assert all(np.array_equal(back[key], observation[key]) for key in observation)
    assert same(told(world, chance(3, 4)), expected)


def test_a_step_is_meta_worlds_own(world):
    """Against its class by itself, set up as it documents."""
    from metaworld import MT1

    world.reset(seed=5, options={"task": "push"})
    scene = world._scene.env
    task = MT1("push-v3", seed=0).train_tasks[0]
    own = type(scene)()
    for env in (own, scene):
        env.set_task(task)
        env.reset()
    act = RandomActions(seed=5, width=4)
    for _ in range(30):
        action = act()
        state, reward, _, _, info = own.step(action.astype(np.float64))
        observation, expected, done, _, _ = world.step(action)
        np.testing.assert_array_equal(observation["state"], state.astype(np.float32))
        assert (reward, bool(info["success"])) == (expected, done)


def test_the_static_picture_is_the_right_way_up(world):
    """A hand that goes up goes up in the picture."""
    made = MetaWorld(height=120, width=120)
    made.reset(seed=0, options={"task": "push"})
    rows = []
    for lift in (-1, 1):
        for _ in range(25):
            picture = made.step(np.array([0, 0, lift, 0]))[0]["static"].astype(int)
        cyan = np.argwhere((picture[..., 1] - picture[..., 0] > 60) & (picture[..., 2] > 100))
        rows.append(cyan[:, 0].mean())
    assert rows[0] - rows[1] > 10
    made.close()


def test_starts_differ_and_seeds_fix_them(world):
    starts = [world.reset(seed=seed, options={"task": "push"})[0] for seed in (0, 1, 0)]
    assert np.array_equal(starts[0]["static"], starts[2]["static"])
    assert not np.array_equal(starts[0]["state"], starts[1]["state"])
    picked = {world.reset(seed=seed)[1]["task"] for seed in range(4)}
    assert len(picked) > 1


def test_a_goal_is_where_the_expert_gets_and_changes_nothing(world, monkeypatch):
    world.reset(seed=7, options={"task": "handle-press"})
    told(world, chance(4, 5))
    before = world.state()
    goal, wrist = world.goal(), world.goal("wrist")
    expected = told(world, chance(5, 4))
    world.restore(before)
    assert same(told(world, chance(5, 4)), expected)
    observation, _ = world.reset(seed=7, options={"task": "handle-press"})
    done = False
    while not done:
        observation, _, done, _, _ = world.step(world.expert(observation["state"], "handle-press"))
    assert np.array_equal(goal, observation["static"])
    assert np.array_equal(wrist, observation["wrist"])
    monkeypatch.setattr("environments.meta_world.expert_action", lambda state, task: np.zeros(4))
    assert world.goal() is None


def test_time_runs_out():
    world = MetaWorld(cameras=(), max_steps=3)
    world.reset(seed=0, options={"task": "reach"})
    ends = [world.step(np.zeros(4))[2:4] for _ in range(3)]
    assert ends == [(False, False)] * 2 + [(False, True)]
    world._scene.env.curr_path_length = 499  # of Meta-World's 500, beyond which planners go too
    assert len(told(world, chance(0, 5))) == 5
    world.close()


def test_mistakes_are_told_in_one_line(blind):
    world, _ = blind
    world.reset(seed=0, options={"task": "push"})
    with pytest.raises(ValueError, match="no task fly; there are: push, plate-slide"):
        world.reset(options={"task": "fly"})
    with pytest.raises(ValueError, match="no such key tsk; there are: task, text"):
        world.reset(options={"tsk": "push"})
    for wrong in (np.zeros(7), np.full(4, np.nan)):
        with pytest.raises(ValueError, match="4 finite numbers"):
            world.step(wrong)


def test_a_missing_package_is_told_in_one_line():
    code = """import sys; sys.modules["metaworld"] = None
from environments import UnavailableError
from environments.meta_world import MetaWorld
assert MetaWorld.tasks()["push"] == "push"
try:
    MetaWorld()
except UnavailableError as error:
    print(error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "metaworld is missing; pip install -e '.[metaworld]'"
