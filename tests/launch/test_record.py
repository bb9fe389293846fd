"""record.py: the same episodes for any number of processes, killed or not, and mistakes told in one line."""

import subprocess
import sys
import time
from collections import deque
from functools import partial

import datasets
import numpy as np
import pytest

import datamodules.lerobot_writer
from datamodules import SourceError
from datamodules.calvin import Calvin
from datamodules.calvin_writer import keep_frames
from datamodules.lerobot import LeRobot
from environments import UnavailableError
from environments.workers import Crashed, Failed
from launch.presets import kinds
from launch.record import RecordingStopped, main, open_writer, played, watched
from launch.record import RecordOptions as Options
from launch.recorder import Recorder, Tally
from policies import Scene
from policies.expert import Expert
from policies.mixed import Mixed
from policies.random_actions import Random
from tests.launch.small_world import SmallWorld, expert
from tests.processes import ROOT

NODE = {"_component_": "tests.launch.small_world.SmallWorld", "cameras": ["static", "wrist"]}
SCRIPT = f"""
import sys
import datamodules.lerobot_writer
from launch.presets import kinds
from launch.record import main

datamodules.lerobot_writer.EPISODES_PER_FILE = 3
kinds()["environments"].nodes["small"] = {NODE!r}
sys.exit(main(sys.argv[1:]))
"""


class Missing:
    """An environment whose extra is not installed."""

    def __init__(self):
        raise UnavailableError("mujoco is missing; pip install -e '.[control]'")


class Pretended:
    """Workers without processes. dies, fails: episodes that kill their process, so often, and that raise."""

    def __init__(self, count, dies=None, fails=()):
        self.queues, self.dies, self.fails = [deque() for _ in range(count)], dies or {}, fails
        self.asked = []

    def __len__(self):
        return len(self.queues)

    def ask(self, place, method, index):
        assert method == "record"
        self.queues[place].append(index)
        self.asked.append(index)

    def answer(self, place):
        index = self.queues[place].popleft()
        if self.dies.get(index, 0):
            self.dies[index] -= 1
            self.queues[place].clear()
            raise Crashed
        if index in self.fails:
            raise Failed("ValueError: no such thing")
        return Tally(1, index, 1, 0.5)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(datamodules.lerobot_writer, "EPISODES_PER_FILE", 3)
    monkeypatch.setitem(kinds()["environments"].nodes, "small", NODE)
    missing = {"_component_": f"{Missing.__module__}.Missing"}
    monkeypatch.setitem(kinds()["environments"].nodes, "absent", missing)


def contents(root) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def recorded_here(root, made_by, *, make, policy, episodes: int) -> None:
    """The same as the command, in this process."""
    writer = open_writer(Options(out=root, env="small"), make(), made_by)
    recorder = Recorder(env=make, policy=policy, tasks=["left", "right"], root=root, fps=10, seed=0)
    tally = watched(writer, episodes, map(recorder.record, writer.missing(episodes)))
    assert tally.episodes == episodes


def test_killed_and_gone_on_with_in_two_processes_equals_at_once_in_one(tmp_path, capsys):
    marks = tmp_path / "marks"
    marks.mkdir()
    out = tmp_path / "killed"
    tokens = ["env=small", "policy=mixed", "noise=0.5", "episodes=11", f"out={out}"]
    tokens += [f"env.hold={marks}", "env.limit=8"]
    command = [sys.executable, "-c", SCRIPT, *tokens, "processes=2"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 300
        while len(list(marks.iterdir())) < 8:
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        running.kill()
        running.wait()
    (marks / "go").touch()
    assert main([*tokens, "processes=1"]) == 0
    said = capsys.readouterr().out
    assert f"wrote {out}, a LeRobotDataset v3.0 of 11 episodes" in said
    assert f"python train.py recipe=savp data=lerobot data.root={out}" in said
    assert "frames/s a core" in said
    assert 0 < int(said.partition("recorded ")[2].split()[0]) < 11  # the others were there

    make = partial(SmallWorld, cameras=["static", "wrist"], hold=str(marks), limit=8)
    made_by = {"env": "small", "env.cameras": ["static", "wrist"], "env.hold": str(marks), "env.limit": 8}
    made_by |= {"policy": "mixed", "seed": 0, "noise": 0.5}
    recorded_here(tmp_path / "once", made_by, make=make, policy=Mixed(noise=0.5), episodes=11)
    assert contents(out) == contents(tmp_path / "once")
    assert main(tokens) == 0  # nothing is left to do
    assert "recorded" not in capsys.readouterr().out


def test_what_is_recorded_is_what_acting_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    make = partial(SmallWorld, cameras=["wrist"])
    recorded_here(tmp_path / "out", {}, make=make, policy=Expert(), episodes=6)
    source = LeRobot(root=str(tmp_path / "out"), num_frames=4, height=16, width=9)
    assert source.spec().state_names == ("place", "noise")
    assert source.spec().action_names == SmallWorld.action_names
    seen = set()
    for split in ("train", "val", "test"):
        for clip in source.split(split):
            task = "left" if int(clip["id"].rpartition("episode_")[2].split("@")[0]) % 2 == 0 else "right"
            assert clip["text"] == f"go {task}"
            assert np.array_equal(clip["actions"].numpy(), [expert(None, task)] * 3)
            assert np.allclose(np.diff(clip["state"][:, 0]), clip["actions"][:, 0], atol=1e-5)
            bright = clip["video"].numpy().min(axis=1)[:, 8].argmax(axis=1)
            assert np.array_equal(bright, np.clip(np.round(clip["state"][:, 0].numpy()), 0, 8))
            seen.add(task)
    assert seen == {"left", "right"}


def test_an_episode_of_the_play_table(tmp_path):
    try:
        from environments.play_table import PlayTable

        recorder = Recorder(
            env=PlayTable, policy=Expert(), tasks=["open_drawer"], root=tmp_path, fps=20, seed=0
        )
        tally = recorder.record(0)
    except UnavailableError as reason:
        pytest.skip(str(reason))
    assert tally.episodes == tally.successes == 1
    writer = open_writer(Options(out=tmp_path / "other"), recorder.env, {})
    recorder.close()
    assert writer.cameras == {"observation.images.static": (64, 64)}
    assert writer.fps == 20
    assert len(writer.action_names) == 7
    assert writer.state_names[0] == "finger_x"


def test_mixed_is_the_expert_with_a_share_of_chance():
    scene = Scene("left", "go left", None, SmallWorld, 7, expert)
    observation = {"state": np.zeros(2, dtype=np.float32)}

    def acts(policy, seed):
        episode = policy.begin(None, scene, seed=seed)
        return np.stack([episode.act(observation, None) for _ in range(100)])

    for seed in range(5):
        assert np.array_equal(acts(Mixed(noise=0.0), seed), acts(Expert(), seed))
        assert np.array_equal(acts(Mixed(noise=1.0), seed), acts(Random(), seed))
        assert np.array_equal(acts(Mixed(noise=0.3), seed), acts(Mixed(noise=0.3), seed))
    by_chance = [
        np.any(acts(Mixed(noise=0.3), seed) != expert(None, "left"), axis=1).mean() for seed in range(60)
    ]
    whole = np.array(by_chance) == 1
    assert 0.15 < whole.mean() < 0.45
    assert 0.25 < np.mean(by_chance, where=~whole) < 0.35


def test_an_episode_whose_process_dies_is_tried_again():
    workers = Pretended(2, dies={3: 2})
    tallies = list(played(workers, deque(range(8))))
    assert sorted(tally.frames for tally in tallies) == list(range(8))
    assert workers.asked.count(3) == 3
    with pytest.raises(RecordingStopped, match="episode 3: its process died 3 times"):
        list(played(Pretended(2, dies={3: 3}), deque(range(8))))


def test_an_episode_that_fails_stops_the_recording_and_says_what_is_kept():
    with pytest.raises(RecordingStopped) as stopped:
        list(played(Pretended(1, fails=[2]), deque(range(8))))
    said = stopped.value.report("record.py")
    assert said == "record.py: stopped at episode 2: ValueError: no such thing; what was recorded is kept"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["env=smal"], "no such environment; did you mean small?"),
        (["env=small", "env.camera=[wrist]"], "env.camera  unknown key; did you mean cameras?"),
        (["env=small", "policy=best"], "expected one of expert, random, mixed, got 'best'"),
        (["env=small", "episodes=0", "processes=0"], "2 problems"),
        (["env=small", "policy=mixed", "noise=2"], "noise  give a share from 0 to 1, got 2"),
        (["env=absent"], "env=absent  mujoco is missing; pip install -e '.[control]'"),
    ],
)
def test_mistakes_are_told_in_one_line_each(tmp_path, capsys, tokens, said):
    assert main([*tokens, f"out={tmp_path / 'out'}"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_recording_is_left_alone(tmp_path, capsys):
    made_by = {"env": "small", "env.cameras": ["static", "wrist"], "policy": "expert", "seed": 5}
    open_writer(Options(out=tmp_path / "out", env="small"), SmallWorld(cameras=["static"]), made_by)
    assert main(["env=small", "policy=random", f"out={tmp_path / 'out'}"]) == 2
    assert "was recorded with policy=expert, seed=5; take another folder" in capsys.readouterr().err


def test_in_calvins_layout_killed_and_gone_on_with_equals_at_once(tmp_path, capsys):
    marks = tmp_path / "marks"
    marks.mkdir()
    out = tmp_path / "killed"
    tokens = ["format=calvin", "env=small", "episodes=11", f"out={out}", f"env.hold={marks}", "env.limit=8"]
    command = [sys.executable, "-c", SCRIPT, *tokens, "processes=2"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 300
        while len(list(marks.iterdir())) < 8:
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        assert main(["format=calvin", "env=small", f"out={out}"]) == 2
        assert "another recording is writing to it; wait until it ends" in capsys.readouterr().err
    finally:
        running.kill()
        running.wait()
    (marks / "go").touch()
    assert main([*tokens, "processes=1"]) == 0
    said = capsys.readouterr().out
    assert f"wrote {out}, a folder in CALVIN's layout of 11 episodes" in said
    assert f"python train.py recipe=savp data=calvin data.root={out}" in said
    assert 0 < int(said.partition("recorded ")[2].split()[0]) < 11  # the others were there

    make = partial(SmallWorld, cameras=["static", "wrist"], hold=str(marks), limit=8)
    made_by = {"env": "small", "env.cameras": ["static", "wrist"], "env.hold": str(marks), "env.limit": 8}
    once = Options(out=tmp_path / "once", env="small", format="calvin")
    writer = open_writer(once, make(), made_by | {"policy": "expert", "seed": 0})
    recorder = Recorder(
        env=make,
        policy=Expert(),
        tasks=["left", "right"],
        root=once.out,
        fps=10,
        seed=0,
        keep=partial(keep_frames, state_names=SmallWorld.state_names),
    )
    watched(writer, 11, map(recorder.record, writer.missing(11)))
    writer.close()
    assert contents(out) == contents(once.out)
    source = Calvin(root=str(out), num_frames=4, height=16, width=9, camera="gripper", state_key="all")
    assert source.spec().state_names == SmallWorld.state_names
    for split in ("train", "val", "test"):
        clips = source.split(split)
        for clip in (clips[i] for i in range(len(clips))):
            task = clip["text"].removeprefix("go ")
            assert np.array_equal(clip["actions"].numpy(), [expert(None, task)] * 3)
            bright = clip["video"].numpy().min(axis=1)[:, 8].argmax(axis=1)
            assert np.array_equal(bright, np.clip(np.round(clip["state"][:, 0].numpy()), 0, 8))


@pytest.mark.parametrize(("first", "second"), [("lerobot", "calvin"), ("calvin", "lerobot")])
def test_a_folder_of_the_other_format_is_left_alone(tmp_path, first, second):
    world = SmallWorld(cameras=["static"])
    open_writer(Options(out=tmp_path / "out", env="small", format=first), world, {}).close()
    with pytest.raises(SourceError, match="is there and is no recording; take another folder"):
        open_writer(Options(out=tmp_path / "out", env="small", format=second), world, {})


def test_only_the_tasks_that_are_named_take_turns(tmp_path, capsys):
    assert main(["env=small", "episodes=3", "tasks=[right]", f"out={tmp_path / 'right'}"]) == 0
    source = LeRobot(root=str(tmp_path / "right"), num_frames=4, height=16, width=9)
    assert {clip["text"] for clip in source.split("train")} == {"go right"}
    assert main(["env=small", "tasks=[rigth]", f"out={tmp_path / 'none'}"]) == 2
    assert main(["env=small", "tasks=[]", f"out={tmp_path / 'none'}"]) == 2
    told = capsys.readouterr().err
    assert "tasks=rigth  no such task; did you mean right?; there are: left, right" in told
    assert "name at least one" in told
    assert not (tmp_path / "none").exists()
