"""The play-table as an environment: gymnasium's rules, exact repetition, snapshots, pictures."""

import copy
import warnings

import numpy as np
import pytest

from environments import register
from environments.table_expert import RandomActions, expert_action
from environments.table_state import STATE_NAMES
from environments.table_tasks import TASKS


def play(table, actions):
    """Everything that a table tells while it is acted on."""
    return [table.step(action) for action in actions]


def same(one, other) -> bool:
    return all(
        all(np.array_equal(a[0][key], b[0][key]) for key in a[0]) and a[1:] == b[1:]
        for a, b in zip(one, other, strict=True)
    )


def random_actions(seed: int, count: int) -> list[np.ndarray]:
    act = RandomActions(seed=seed)
    return [act() for _ in range(count)]


def test_gymnasium_accepts_it(table):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity.*|.*symmetric.*|.*dtype.*|.*spec.*")
        check_env(table, skip_render_check=True)


def test_gymnasium_makes_it_by_its_id_once_it_is_registered(table):
    import gymnasium

    register()
    register()
    made = gymnasium.make("video-world-models/PlayTable-v0", height=32, width=48, look="b", max_steps=3)
    observation, info = made.reset(seed=0, options={"task": "open_drawer"})
    assert observation["static"].shape == (32, 48, 3)
    assert info["text"] in TASKS["open_drawer"].texts
    assert made.unwrapped.begin("close_drawer", "shut it")["text"] == "shut it"
    made.close()


def test_the_same_seed_and_actions_give_the_same_frames(table):
    actions = random_actions(0, 25)
    first, info = table.reset(seed=11)
    told = play(table, actions)
    table.reset(seed=5)
    play(table, random_actions(1, 7))
    again, same_info = table.reset(seed=11)
    assert info == same_info
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert same(play(table, actions), told)


def test_a_new_table_repeats_what_another_one_did(table):
    actions = random_actions(2, 15)
    table.reset(seed=3)
    told = play(table, actions)
    other = type(table)(cameras=("static", "wrist"))
    other.reset(seed=3)
    assert same(play(other, actions), told)
    other.close()


@pytest.mark.parametrize("task", ["push_pink_block_left", "close_drawer", "turn_on_led"])
def test_a_snapshot_is_exact_at_every_stage_of_a_task(table, task):
    observation, _ = table.reset(seed=6, options={"task": task})
    snapshots = []
    for _ in range(12):  # up to where things touch
        snapshots.append((table.state(), observation))
        observation, *_ = table.step(expert_action(observation["state"], task))
    actions = random_actions(3, 6)
    for snapshot, seen in snapshots[::3]:
        table.restore(snapshot)
        told = play(table, actions)
        play(table, random_actions(4, 5))
        back = table.restore(copy.deepcopy(snapshot))
        assert all(np.array_equal(back[key], seen[key]) for key in seen)
        assert same(play(table, actions), told)


def test_a_snapshot_goes_on_in_another_table(table, blind_table):
    table.reset(seed=9, options={"task": "push_blue_block_left"})
    play(table, random_actions(5, 10))
    blind_table.restore(table.state())
    for action in random_actions(6, 10):
        table.step(action)
        blind_table.step(action)
    assert np.array_equal(table.state().physics, blind_table.state().physics)


def test_looks_differ_in_pictures_and_in_nothing_else(table):
    other = type(table)(look="b", cameras=("static", "wrist"))
    one, _ = table.reset(seed=2)
    two, _ = other.reset(seed=2)
    for camera in ("static", "wrist"):
        assert np.abs(one[camera].astype(int) - two[camera]).mean() > 20
    for action in random_actions(7, 20):
        assert np.array_equal(table.step(action)[0]["state"], other.step(action)[0]["state"])
    other.close()


def test_every_part_of_the_state_shows_in_the_static_picture(table):
    """Each thing that tasks are about changes the picture when it alone changes."""
    table.reset(seed=1, options={"task": "turn_on_led"})
    snapshot = table.state()
    before = table.restore(snapshot)["static"].astype(int)
    changes = {"drawer": 0.1, "red_x": 0.03, "blue_x": 0.03, "pink_x": 0.03, "finger_x": 0.03}
    for name, change in changes.items():
        table.restore(snapshot)
        index = {"drawer": table._drawer, "finger_x": table._finger}
        joint = index[name] if name in index else table.model.joint(name[:-2]).qposadr[0]
        table.data.qpos[joint] += change
        assert (np.abs(table.render() - before).max(-1) > 30).sum() >= 8, name
    table.restore(snapshot)
    table._led = True
    assert (np.abs(table.render() - before).max(-1) > 30).sum() >= 8


def test_left_is_left_in_both_looks(table):
    """A block further left by the state's x is further left in the picture."""
    for look in ("a", "b"):
        made = type(table)(look=look)
        made.reset(seed=1)
        spot = made.model.joint("red").qposadr[0]
        redness = []
        for x in (-0.25, 0.25):
            made.data.qpos[spot : spot + 2] = x, -0.1
            picture = made.render().astype(int)
            redness.append(picture[..., 0] - picture[..., 1:].max(-1))
        left, right = (np.argwhere(sign * (redness[0] - redness[1]) > 60)[:, 1] for sign in (1, -1))
        assert len(left) >= 8
        assert len(right) >= 8
        assert right.mean() - left.mean() > 15
        made.close()


def test_an_episode_ends_when_the_task_is_done_or_the_time_is_over(blind_table):
    observation, info = blind_table.reset(seed=0, options={"task": "open_drawer"})
    assert info["success"] is False
    for _ in range(60):
        observation, reward, done, over, info = blind_table.step(
            expert_action(observation["state"], info["task"])
        )
        assert (reward, info["success"]) == (float(done), done)
        if done:
            break
    assert done
    assert not over
    blind_table.begin("close_drawer")
    still = np.zeros(7, dtype=np.float32)
    ends = [blind_table.step(still)[2:4] for _ in range(blind_table.max_steps)]
    assert ends == [(False, False)] * (blind_table.max_steps - 1) + [(False, True)]


def test_angles_and_the_gripper_do_nothing_and_actions_are_clipped(blind_table):
    blind_table.reset(seed=4)
    snapshot = blind_table.state()
    states = []
    for action in ([1, -0.5, -1, 0, 0, 0, 0], [7, -0.5, -3, 1, -1, 0.5, -1]):
        blind_table.restore(snapshot)
        states.append(blind_table.step(np.array(action, dtype=np.float32))[0]["state"])
    assert np.array_equal(*states)


def test_the_finger_moves_by_two_centimetres_an_action(blind_table):
    blind_table.reset(seed=4)
    before = blind_table.table_state().finger
    play(blind_table, [np.array([1, 0, 0, 0, 0, 0, 0], dtype=np.float32)] * 3)
    play(blind_table, [np.zeros(7, dtype=np.float32)] * 4)
    np.testing.assert_allclose(blind_table.table_state().finger - before, [0.06, 0, 0], atol=1e-3)


def test_long_chance_breaks_nothing(blind_table):
    blind_table.reset(seed=8)
    for action in random_actions(9, 600):
        state = blind_table.step(action)[0]["state"]
        assert np.isfinite(state).all()
        assert -0.005 < state[STATE_NAMES.index("drawer")] < 0.185


def test_mistakes_are_told_in_one_line(blind_table):
    with pytest.raises(ValueError, match=r"no task fly; there are: push_red_block_left"):
        blind_table.reset(options={"task": "fly"})
    with pytest.raises(ValueError, match=r"no such key tsk; there are: task, text, start"):
        blind_table.reset(options={"tsk": "open_drawer"})
    with pytest.raises(ValueError, match=r"no task fly"):
        blind_table.begin("fly")
    for wrong in (np.zeros(4), np.full(7, np.nan)):
        with pytest.raises(ValueError, match="7 finite numbers"):
            blind_table.step(wrong)


@pytest.mark.parametrize("task", list(TASKS))
def test_a_goal_shows_the_task_done_and_leaves_the_table_as_it_is(table, task):
    seen, _ = table.reset(seed=5, options={"task": task})
    goal, before = table.goal(), table.table_state()
    assert np.array_equal(table.render(), seen["static"])
    assert not np.array_equal(goal, seen["static"])
    assert TASKS[task].done(before, TASKS[task].outcome(before))


def centroid(table, camera, kind, name) -> np.ndarray:
    """Mean row and column of what is seen of a body's or a geom's pixels."""
    table._draw(camera)
    renderer, model = table.renderer.renderer, table.model
    renderer.enable_segmentation_rendering()
    try:
        geoms = renderer.render()[..., 0]
    finally:
        renderer.disable_segmentation_rendering()
    owner = np.append(model.geom_bodyid, -1)[geoms] if kind == "body" else geoms
    return np.argwhere(owner == getattr(model, kind)(name).id).mean(axis=0)


@pytest.mark.parametrize("look", ["a", "b"])
@pytest.mark.parametrize("camera", ["static", "wrist"])
def test_designated_pixels_lie_where_things_are_drawn(table, look, camera):
    made = type(table)(height=240, width=320, look=look, cameras=("static", "wrist"))
    for seed, task in enumerate(["push_red_block_left", "push_blue_block_right", "push_pink_block_right"]):
        made.reset(seed=seed, options={"task": task})
        colour = task.split("_")[1]
        x, y = made.table_state().blocks[seed][:2]
        if camera == "wrist":  # where it sees the block, and the finger is not before it
            made.data.qpos[made._finger : made._finger + 3] = x - 0.06, y - 0.1, 0.2
        now, goal = made.designated(camera)
        size = made.model.geom_size[made.model.body(colour).geomadr[0]]
        size /= 6  # perspective moves the centroid of a block seen from near off its middle
        np.testing.assert_allclose(now[0], centroid(made, camera, "body", colour), atol=0.75)
        size *= 6
        if camera == "static":
            made._place(TASKS[task].outcome(made._begin))
            np.testing.assert_allclose(goal, made.designated(camera)[0], atol=0.05)
    made.close()


def test_of_the_drawer_the_bar_is_designated_and_for_the_lamp_the_finger(table):
    made = type(table)(height=240, width=320)
    bar = max(range(made.model.ngeom), key=lambda geom: -made.model.geom_pos[geom][1])
    for task, sign in (("open_drawer", 1), ("close_drawer", -1)):
        made.reset(seed=2, options={"task": task})
        made.data.qpos[made._finger : made._finger + 3] = 0.0, 0.2, 0.2  # not before the bar
        now, goal = made.designated()
        assert sign * (goal - now)[0, 0] > 30
        seen = centroid(made, "static", "geom", bar)
        np.testing.assert_allclose(now[0], seen, atol=2.5)
    made.reset(seed=2, options={"task": "turn_on_led"})
    now, goal = made.designated()
    np.testing.assert_allclose(goal[0], centroid(made, "static", "body", "button"), atol=2.5)
    made.data.qpos[made._finger : made._finger + 3] = *made.model.body("button").pos[:2], 0.035
    np.testing.assert_allclose(made.designated()[0], goal, atol=1e-9)
    made.close()


@pytest.mark.parametrize("task", list(TASKS))
def test_designated_pixels_arrive_with_the_expert_and_only_what_moves_moves_them(table, task):
    observation, _ = table.reset(seed=7, options={"task": task})
    first, goal = table.designated()
    assert table.designated("wrist")[0].shape == (1, 2)
    for _ in range(80):
        observation, _, done, _, _ = table.step(expert_action(observation["state"], task))
        if done:
            break
    last, same_goal = table.designated()
    assert np.array_equal(goal, same_goal)
    assert np.linalg.norm(last - goal) < max(0.5 * np.linalg.norm(first - goal), 3)
    assert np.array_equal(table.goal(), table.goal())
    assert np.array_equal(table.designated()[0], last)


def test_a_supersampled_picture_is_the_mean_of_a_finer_one(table):
    made = {}
    for size, supersample in ((16, 3), (48, 1)):
        other = type(table)(height=size, width=size, supersample=supersample)
        made[supersample] = other.reset(seed=4, options={"task": "open_drawer"})[0]["static"]
        other.close()
    means = made[1].reshape(16, 3, 16, 3, 3).mean(axis=(1, 3))
    assert made[3].dtype == np.uint8
    np.testing.assert_allclose(made[3], means, atol=0.51)
    with pytest.raises(ValueError, match="supersample is 0; give at least 1"):
        type(table)(supersample=0)
