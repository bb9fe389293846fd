"""PushT as an environment: gym-pusht's own starts, steps and pictures, exact snapshots, an honest goal."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from environments import register
from environments.push_t import TEXTS, PushT, _load
from environments.table_expert import RandomActions
from policies import Scene
from policies.expert import Expert
from policies.mixed import Mixed


@pytest.fixture(scope="module")
def world():
    made = PushT()
    yield made
    made.close()


@pytest.fixture
def original():
    return _load().PushTEnv(obs_type="state", observation_height=48, observation_width=72)


def pushes(world, seed: int, count: int) -> list[np.ndarray]:
    """Actions towards the T and past it, carried out as they are made up."""
    rng, done = np.random.default_rng(seed), []
    for _ in range(count):
        place = np.array(world.env.block.position) + rng.normal(0, 50, 2)
        done.append(np.clip(place / 256 - 1, -1, 1))
        world.step(done[-1])
    return done


def told(world, actions) -> list:
    return [world.step(action) for action in actions]


def same(one, other) -> bool:
    return all(
        all(np.array_equal(a[0][key], b[0][key]) for key in a[0]) and a[1:] == b[1:]
        for a, b in zip(one, other, strict=True)
    )


def test_gymnasium_accepts_it_and_makes_it_by_its_id(world):
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity.*|.*symmetric.*|.*dtype.*|.*spec.*")
        check_env(world, skip_render_check=True)
    register()
    made = gymnasium.make("video-world-models/PushT-v0", height=32, width=48)
    observation, info = made.reset(seed=0)
    assert observation["static"].shape == (32, 48, 3)
    assert observation["state"].dtype == np.float32
    assert info["text"] in TEXTS
    assert (info["task"], info["success"]) == ("push_t", False)


def test_starts_steps_and_rewards_are_those_of_gym_pusht(world, original):
    for seed in range(5):
        observation, _ = world.reset(seed=seed)
        state, _ = original.reset(seed=seed)
        np.testing.assert_array_equal(observation["state"], state.astype(np.float32))
        act = RandomActions(seed=seed, width=2)
        for _ in range(15):
            action = act()
            observation, reward, *_ = world.step(action)
            state, expected, *_ = original.step((action.astype(np.float64) + 1) * 256)
            assert reward == pytest.approx(expected, abs=1e-9)
            np.testing.assert_array_equal(observation["state"], state.astype(np.float32))


def test_linear_pictures_are_those_of_gym_pusht_and_means_are_near_them(original):
    linear, area = (PushT(height=48, width=72, resize=way) for way in ("linear", "area"))
    original.reset(seed=4)
    expected = original._render()
    seen = linear.reset(seed=4)[0]["static"]
    assert np.array_equal(seen, expected)
    assert np.array_equal(linear.render(), expected)
    means = area.reset(seed=4)[0]["static"]
    assert means.flags.c_contiguous
    assert 0 < np.abs(means.astype(int) - expected).mean() < 4


def test_actions_are_places_in_the_picture():
    """Left, right, top and bottom, by the only blue thing."""
    world = PushT(cameras=("static",), height=96, width=96)
    corners = []
    for action in ([-0.7, -0.7], [0.7, -0.7], [-0.7, 0.7]):
        world.reset(options={"start": [256, 256, 256, 480, 0]})  # the T is out of the way
        for _ in range(25):
            picture = world.step(np.array(action))[0]["static"].astype(int)
        blue = np.argwhere(picture[..., 2] - picture[..., 0] > 80)
        corners.append(blue.mean(axis=0))
    expected = np.array([[0.15, 0.15], [0.15, 0.85], [0.85, 0.15]]) * 96
    np.testing.assert_allclose(corners, expected, atol=2)


def test_a_snapshot_is_exact_while_things_touch(world):
    for seed in range(3):
        world.reset(seed=seed)
        before = pushes(world, seed, 15)
        snapshot, seen = world.state(), world.restore(world.state())
        assert snapshot == world.state()
        after = pushes(world, seed + 100, 8)
        end = world.state()
        world.restore(snapshot)
        expected = told(world, after)
        pushes(world, seed + 200, 5)
        back = world.restore(copy.deepcopy(snapshot))
        assert all(np.array_equal(back[key], seen[key]) for key in seen)
        assert same(told(world, after), expected)
        other = PushT()
        other.restore(pickle.loads(pickle.dumps(snapshot)))
        assert same(told(other, after), expected)
        world.reset(seed=seed)
        assert same(told(world, before + after)[-8:], expected)
        assert world.state() == end


def test_a_goal_shows_the_t_on_its_outline_and_changes_nothing(world):
    seen, _ = world.reset(seed=3)
    actions = pushes(world, 0, 20)
    goal, picture = world.goal(), world.render()
    assert world._goal_env._get_coverage() > 0.999
    assert np.array_equal(world.render(), picture)
    green = (goal[..., 1].astype(int) - goal[..., 0] > 60).sum()
    assert green <= 6 < (seen["static"][..., 1].astype(int) - seen["static"][..., 0] > 60).sum()
    after = pushes(world, 1, 8)
    end = world.step(after[-1])
    world.reset(seed=3)
    assert same([told(world, [*actions, *after, after[-1]])[-1]], [end])


def test_success_is_a_covered_outline_and_ends_the_episode(world):
    """A T that lies a little beside its outline is there; one that is turned is not."""
    for turned, success in ((0.3, False), (0.0, True)):
        world.reset(options={"start": [400, 20, 256, 256, 0.0]})
        world.env.block.angle = world.env.goal_pose[2] + turned
        world.env.block.position = tuple(world.env.goal_pose[:2] + 1.0)
        _, reward, done, over, info = world.step(np.array([0.5, -0.9]))
        assert (done, over, info["success"], reward == 1.0) == (success, False, success, success)


def test_time_runs_out():
    world = PushT(max_steps=4, cameras=())
    observation, _ = world.reset(seed=0, options={"start": [20, 20, 400, 400, 0.0]})
    assert list(observation) == ["state"]
    assert [world.step(np.full(2, -0.9))[2:4] for _ in range(4)] == [(False, False)] * 3 + [(False, True)]


def test_it_has_no_expert_and_policies_that_need_one_say_so():
    scene = Scene("push_t", TEXTS[0], None, PushT, 2, PushT.expert)
    for policy in (Expert(), Mixed(noise=0.3)):
        with pytest.raises(ValueError, match="this environment has no expert; take"):
            policy.begin(None, scene, seed=0)


def test_mistakes_are_told_in_one_line(world):
    with pytest.raises(ValueError, match="no task fly; there is: push_t"):
        world.reset(options={"task": "fly"})
    with pytest.raises(ValueError, match="no such key tsk; there are: task, text, start"):
        world.reset(options={"tsk": "push_t"})
    with pytest.raises(ValueError, match="a start is 5 finite numbers"):
        world.reset(options={"start": [1, 2]})
    for wrong in (np.zeros(7), np.full(2, np.nan)):
        with pytest.raises(ValueError, match="2 finite numbers"):
            world.step(wrong)


def test_a_missing_package_is_told_in_one_line():
    code = """import sys; sys.modules["gym_pusht"] = None
from environments import UnavailableError
from environments.push_t import PushT
assert PushT.tasks() == {"push_t": "push"}
try:
    PushT()
except UnavailableError as error:
    print(error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "gym-pusht is missing; pip install -e '.[pusht]'"
