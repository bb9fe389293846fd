"""What is recorded in CALVIN's layout is what `data=calvin` reads, and what numpy alone finds there."""

import json

import numpy as np
import pytest

import datamodules.calvin_writer
from datamodules import SourceError
from datamodules.calvin import Calvin
from datamodules.calvin_writer import CalvinWriter, folder_of, keep_frames, waiting_folder
from datamodules.lerobot_episodes import RecordedEpisode

FPS = 10
SIZES = {"static": (15, 17), "wrist": (8, 6)}
STATE_NAMES = ("finger_x", "finger_y", "finger_z", "drawer", "lamp")
ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
LENGTHS = [7, 4, 9, 5, 2, 6, 8, 3, 4, 5, 6, 4, 7, 3, 5]
EVERY = range(len(LENGTHS))
TASKS = ["left", "right", "stay"]
FAILED = (2, 7)
HELD_OUT = (9, 12)


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    monkeypatch.setattr(datamodules.calvin_writer, "EPISODES_PER_TABLE", 4)


def episode(index: int, *, cameras=SIZES, states: int = len(STATE_NAMES)) -> RecordedEpisode:
    """Noise all over: whatever is lost or moved shows."""
    rng, n = np.random.default_rng(index), LENGTHS[index]
    return RecordedEpisode(
        videos={
            name: rng.integers(0, 256, (n, *SIZES[name], 3), dtype=np.uint8)
            for name in SIZES
            if name in cameras
        },
        states=rng.normal(size=(n, states)).astype(np.float32),
        actions=rng.normal(size=(n - 1, 7)).astype(np.float32),
        success=np.arange(n - 1) == (n if index in FAILED else n - 2),
        text=f"go {TASKS[index % 3]}",
    )


def writer(root, *, names=STATE_NAMES, cameras=SIZES, seed: int = 0) -> CalvinWriter:
    return CalvinWriter(
        root=root,
        fps=FPS,
        cameras={name: SIZES.get(name, (4, 4)) for name in cameras},
        state_names=names,
        action_names=ACTION_NAMES,
        made_by={"seed": seed, "sizes": (1, 2)},
    )


def keep(root, index: int, *, names=STATE_NAMES, cameras=SIZES) -> None:
    made = episode(index, cameras=cameras, states=len(names))
    keep_frames(root, index, made, TASKS[index % 3], state_names=names)


def write(root, indices=EVERY, **changes) -> None:
    made = writer(root, **changes)
    for index in indices:
        keep(root, index, **changes)
        made.join(len(LENGTHS))
    made.close()


def contents(root) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise") / "data set"
    write(root)
    return root


@pytest.mark.parametrize(("camera", "seen"), [("static", "static"), ("gripper", "wrist")])
def test_data_calvin_reads_every_frame_action_state_and_word_as_it_was(folder, camera, seen):
    height, width = SIZES[seen]
    entries = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    for language_only in (True, False):
        source = Calvin(
            root=str(folder),
            num_frames=2,
            height=height,
            width=width,
            camera=camera,
            state_key="all",
            language_only=language_only,
        )
        assert source.spec().state_names == STATE_NAMES
        found = {}
        for split in ("train", "val", "test"):
            clips = source.split(split)
            for clip in (clips[i] for i in range(len(clips))):
                number = int(clip["id"].rpartition("episode_")[2])
                entry = next(e for e in entries if e["first"] <= number <= e["last"])
                start, truth = number - entry["first"], episode(entry["episode"])
                frames = truth.videos[seen][start : start + 2].transpose(0, 3, 1, 2)
                assert np.array_equal(clip["video"].numpy(), frames)
                assert np.array_equal(clip["state"].numpy(), truth.states[start : start + 2])
                assert np.array_equal(clip["actions"].numpy(), truth.actions[start : start + 1])
                assert clip["text"] == (truth.text if language_only else "")
                assert clip["fps"] == FPS
                found.setdefault(split, set()).add(entry["episode"])
        there = set(EVERY) - set(FAILED) if language_only else set(EVERY)
        assert found == {"train": there - set(HELD_OUT), "val": {9}, "test": {12}}


def test_numpy_alone_finds_the_layout(folder):
    last = -1
    for name in ("training", "validation"):
        mine = [i for i in EVERY if folder_of(i) == name]
        spans = np.load(folder / name / "ep_start_end_ids.npy")
        assert spans.dtype == np.int64
        assert (spans[:, 1] - spans[:, 0] + 1).tolist() == [LENGTHS[i] for i in mine]
        about = np.load(folder / name / "lang_annotations/auto_lang_ann.npy", allow_pickle=True).item()
        told = [i for i in mine if i not in FAILED]
        assert about["language"]["ann"] == [f"go {TASKS[i % 3]}" for i in told]
        assert about["language"]["task"] == [TASKS[i % 3] for i in told]
        assert about["language"]["emb"].shape == (len(told), 1, 384)
        expected = [(int(a), int(b)) for i, (a, b) in zip(mine, spans, strict=True) if i in told]
        assert about["info"] == {"episodes": [], "indx": expected}
        for index, (first, end) in zip(mine, spans, strict=True):
            truth = episode(index)
            for i, number in enumerate(range(first, end + 1)):
                arrays = np.load(folder / name / f"episode_{number:07d}.npz")
                assert np.array_equal(arrays["rgb_static"], truth.videos["static"][i])
                assert np.array_equal(arrays["rgb_gripper"], truth.videos["wrist"][i])
                assert np.array_equal(arrays["robot_obs"], [*truth.states[i, :3], *[0] * 12])
                assert np.array_equal(arrays["scene_obs"], [*truth.states[i, 3:], *[0] * 22])
                action = truth.actions[i] if number < end else np.zeros(7)
                assert np.array_equal(arrays["rel_actions"], action)
                after = truth.states[min(i + 1, LENGTHS[index] - 1), :3]
                assert np.array_equal(arrays["actions"], [*after, 0, 0, 0, action[6]])
        last = max(last, int(spans.max()))
    assert last == sum(LENGTHS) - 1
    tables = {"ep_start_end_ids.npy", "lang_annotations/auto_lang_ann.npy"}
    expected = {f"{name}/{table}" for name in ("training", "validation") for table in tables}
    expected |= {"recording.json", "state_names.json", "episodes.jsonl"}
    assert {name for name in contents(folder) if not name.endswith(".npz")} == expected
    assert len(list(folder.rglob("*.npz"))) == sum(LENGTHS)


def test_one_of_ten_is_held_out_whichever_task_it_is():
    held_out = [i for i in range(1000) if folder_of(i) == "validation"]
    assert [i // 10 for i in held_out] == list(range(100))
    for tasks in range(1, 12):
        assert {i % tasks for i in held_out} == set(range(tasks))


def test_any_order_and_any_number_of_writers_make_the_same_files(folder, tmp_path):
    write(tmp_path / "shuffled", [5, 1, 6, 0, 2, 14, 4, 3, 13, 8, 9, 7, 12, 11, 10])
    assert contents(tmp_path / "shuffled") == contents(folder)
    for index in (4, 0, 2, 1, 6, 5, 3, 9, 8, 7, 14, 10, 11, 13, 12):
        write(tmp_path / "one by one", [index])
    assert contents(tmp_path / "one by one") == contents(folder)


def test_a_killed_writer_leaves_whole_episodes_and_the_next_one_goes_on(folder, tmp_path):
    root = tmp_path / "killed"
    write(root, range(6))
    keep(root, 6)
    journal = root / "episodes.jsonl"
    with journal.open("a") as file:
        file.write(contents(folder)["episodes.jsonl"].decode().splitlines(keepends=True)[6])
        file.write('{"episode": 7, "fold')  # the next one's half
    moved = waiting_folder(root, 6) / "episode_0000002.npz"  # one of its frames is at its place
    moved.rename(root / "training" / f"episode_{sum(LENGTHS[:6]) + 2:07d}.npz")
    (root / "training/ep_start_end_ids.npy").unlink()
    (root / "training/ep_start_end_ids.npy.part").write_bytes(b"half of it")
    unfinished = waiting_folder(root, 9).with_name("episode_000009.123.part")
    unfinished.mkdir()
    (unfinished / "episode_0000000.npz").write_bytes(b"half of it")
    keep(root, 8)
    again = writer(root)
    assert again.missing(12) == [7, 9, 10, 11]
    assert len(np.load(root / "training/ep_start_end_ids.npy")) == 7
    again.close()
    write(root, [7, *range(9, len(LENGTHS))])
    assert contents(root) == contents(folder)


def test_fewer_episodes_and_then_more(folder, tmp_path):
    root = tmp_path / "longer"
    first = writer(root)
    for index in range(3):
        keep(root, index)
    first.join(3)
    first.close()
    assert len(np.load(root / "training/ep_start_end_ids.npy")) == 3
    assert not (root / "unjoined").exists()
    write(root, range(3, len(LENGTHS)))
    assert contents(root) == contents(folder)


def test_an_episode_that_was_left_twice_is_there_once(tmp_path):
    keep(tmp_path, 0)
    before = contents(tmp_path)
    keep(tmp_path, 0)
    assert contents(tmp_path) == before


def test_what_is_not_there_is_not_written(tmp_path):
    names = ("place", "noise")
    write(tmp_path / "bare", [0, 1], names=names, cameras=["static"])
    arrays = np.load(tmp_path / "bare/training/episode_0000003.npz")
    assert set(arrays) == {"rgb_static", "rel_actions", "robot_obs", "scene_obs"}
    assert json.loads((tmp_path / "bare/state_names.json").read_text()) == {
        "robot_obs": [],
        "scene_obs": ["place", "noise"],
    }


def test_what_the_layout_has_no_place_for_is_refused(tmp_path):
    def complaint(**changes) -> str:
        with pytest.raises(SourceError) as caught:
            writer(tmp_path / "refused", **changes)
        assert not (tmp_path / "refused").exists()
        return str(caught.value)

    assert complaint(cameras=["top"]) == "CALVIN's layout has no camera top; take format=lerobot"
    assert "no frames without a camera" in complaint(cameras=[])
    assert "24 numbers in scene_obs, not 25" in complaint(names=tuple(f"s{i}" for i in range(25)))
    with pytest.raises(SourceError, match="actions of 7 numbers, not 2"):
        CalvinWriter(
            root=tmp_path / "two",
            fps=FPS,
            cameras=SIZES,
            state_names=STATE_NAMES,
            action_names=("x", "y"),
            made_by={},
        )


def test_a_folder_of_something_else_or_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SourceError, match="is no recording; take another folder"):
        writer(tmp_path)
    first = writer(tmp_path / "mine")
    with pytest.raises(SourceError, match="another recording is writing to it; wait until it ends"):
        writer(tmp_path / "mine")
    first.close()
    with pytest.raises(SourceError, match="was recorded with seed=0; take another folder"):
        writer(tmp_path / "mine", seed=1)
    writer(tmp_path / "mine").close()


def test_a_process_that_outlives_its_recording_leaves_no_half_of_an_episode(folder, tmp_path, monkeypatch):
    root, others = tmp_path / "outlived", []
    write(root, range(3))
    real = datamodules.calvin_writer.archive

    def interrupted(arrays):
        if not others:
            with monkeypatch.context() as slow:
                slow.setattr(datamodules.calvin_writer.shutil, "rmtree", lambda *_, **__: None)
                others.append(writer(root))  # another recording begins; it has deleted nothing yet
        return real(arrays)

    with monkeypatch.context() as patch:
        patch.setattr(datamodules.calvin_writer, "archive", interrupted)
        with pytest.raises(FileNotFoundError):
            keep(root, 3)
    assert others[0].missing(4) == [3]
    others[0].close()
    write(root, range(3, len(LENGTHS)))
    assert contents(root) == contents(folder)
