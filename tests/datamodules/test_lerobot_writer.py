"""What is recorded is what is read: by `data=lerobot`, and by nothing but `datasets` and PyAV."""

import json

import av
import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

import datamodules.lerobot_writer
from datamodules import SourceError
from datamodules.lerobot import LeRobot
from datamodules.lerobot_episodes import RecordedEpisode, episode_file, keep_episode
from datamodules.lerobot_writer import LeRobotWriter

FPS = 10
SIZES = {"static": (15, 17), "wrist": (8, 6)}
LENGTHS = [7, 4, 9, 5, 2, 6, 8]
EVERY = range(len(LENGTHS))
TEXTS = ["push it left", "push it right", "leave it"]


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(datamodules.lerobot_writer, "EPISODES_PER_FILE", 3)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """Tables that `datasets` prepares go where the test's other files are."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


def episode(index: int, *, states: int = 3) -> RecordedEpisode:
    """Noise all over: whatever is lost or moved shows."""
    rng, n = np.random.default_rng(index), LENGTHS[index]
    return RecordedEpisode(
        videos={name: rng.integers(0, 256, (n, *size, 3), dtype=np.uint8) for name, size in SIZES.items()},
        states=rng.normal(size=(n, states)).astype(np.float32),
        actions=rng.normal(size=(n - 1, 2)).astype(np.float32),
        success=np.arange(n - 1) == (n - 2 if index % 2 else n),
        text=TEXTS[index % 3],
    )


def writer(root, *, states: int = 3, seed: int = 0) -> LeRobotWriter:
    return LeRobotWriter(
        root=root,
        fps=FPS,
        robot="noise",
        cameras=SIZES,
        state_names=tuple(f"s{i}" for i in range(states)),
        action_names=("dx", "dy"),
        made_by={"seed": seed, "sizes": (1, 2)},
    )


def write(root, indices=EVERY, *, states: int = 3) -> LeRobotWriter:
    made = writer(root, states=states)
    for index in indices:
        keep_episode(root, index, episode(index, states=states), fps=FPS)
        made.join(len(LENGTHS))
    return made


def contents(root) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise") / "data set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datamodules.lerobot_writer, "EPISODES_PER_FILE", 3)
        write(root)
    return root


@pytest.mark.parametrize("camera", SIZES)
def test_data_lerobot_reads_every_frame_action_and_state_as_it_was(folder, camera):
    height, width = SIZES[camera]
    source = LeRobot(root=str(folder), num_frames=2, height=height, width=width, camera=camera)
    assert source.spec().action_names == ("dx", "dy")
    assert source.spec().state_names == ("s0", "s1", "s2")
    seen = set()
    for split in ("train", "val", "test"):
        for clip in source.split(split):
            index, start = map(int, clip["id"].rpartition("episode_")[2].split("@"))
            truth = episode(index)
            frames = truth.videos[camera][start : start + 2].transpose(0, 3, 1, 2)
            assert np.array_equal(clip["video"].numpy(), frames)
            assert np.array_equal(clip["state"].numpy(), truth.states[start : start + 2])
            assert np.array_equal(clip["actions"].numpy(), truth.actions[start : start + 1])
            assert clip["text"] == truth.text
            assert clip["fps"] == FPS
            seen.add(index)
    assert seen == set(EVERY)


def test_a_plain_reader_finds_the_same(folder):
    """Nothing of ours: parquet by `datasets`, videos by PyAV, places by meta/."""
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (7, sum(LENGTHS), 3)
    files = [str(path) for path in sorted((folder / "data").rglob("*.parquet"))]
    rows = datasets.load_dataset("parquet", data_files=files, split="train").with_format("numpy")
    assert rows["index"][:].tolist() == list(range(sum(LENGTHS)))
    tasks = pq.read_table(folder / "meta/tasks.parquet").to_pandas()  # LeRobot looks for texts in its index
    tables = [pq.read_table(path) for path in sorted((folder / "meta/episodes").rglob("*.parquet"))]
    for place in (row for table in tables for row in table.to_pylist()):
        truth, n = episode(place["episode_index"]), place["length"]
        mine = rows[place["dataset_from_index"] : place["dataset_to_index"]]
        assert place["tasks"] == [truth.text] == list(tasks.iloc[mine["task_index"][:1]].index)
        assert np.array_equal(mine["observation.state"], truth.states)
        assert np.array_equal(mine["action"][:-1], truth.actions)
        assert not mine["action"][-1].any()
        assert mine["next.success"].tolist() == [*truth.success, truth.success[-1]]
        assert np.array_equal(mine["frame_index"], np.arange(n))
        assert set(mine["episode_index"]) == {place["episode_index"]}
        assert np.allclose(mine["timestamp"], np.arange(n) / FPS)
        for camera, video in truth.videos.items():
            key = f"observation.images.{camera}"
            chunk, number = place[f"videos/{key}/chunk_index"], place[f"videos/{key}/file_index"]
            path = info["video_path"].format(video_key=key, chunk_index=chunk, file_index=number)
            start, end = (round(place[f"videos/{key}/{which}_timestamp"] * FPS) for which in ("from", "to"))
            with av.open(str(folder / path)) as container:
                decoded = list(container.decode(video=0))
            assert [round(frame.time * FPS) for frame in decoded] == list(range(len(decoded)))
            assert np.array_equal([frame.to_ndarray(format="rgb24") for frame in decoded[start:end]], video)


def test_several_episodes_share_a_file_and_nothing_else_is_left(folder):
    names = {name for name in contents(folder) if not name.startswith("videos")}
    parts = ("data", "meta/episodes")
    numbered = {f"{part}/chunk-000/file-00{k}.parquet" for part in parts for k in range(3)}
    others = {f"meta/{name}" for name in ("info.json", "stats.json", "tasks.parquet", "recording.json")}
    assert names == numbered | others
    assert len(list((folder / "videos/observation.images.wrist").rglob("*.mp4"))) == 3


def test_statistics_are_those_of_all_rows(folder):
    stats = json.loads((folder / "meta/stats.json").read_text())
    every = [episode(i) for i in EVERY]
    rows = {
        "observation.state": np.concatenate([e.states for e in every]),
        "action": np.concatenate([np.vstack([e.actions, np.zeros((1, 2))]) for e in every]),
    }
    for camera in SIZES:
        pixels = np.concatenate([e.videos[camera].reshape(-1, 3) for e in every])
        rows[f"observation.images.{camera}"] = pixels / 255
    assert stats.keys() == rows.keys()
    for key, values in rows.items():
        for name in ("min", "max", "mean", "std"):
            found = np.array(stats[key][name])
            assert found.shape == ((3, 1, 1) if "images" in key else values.shape[1:])
            assert np.allclose(found.reshape(-1), getattr(values, name)(axis=0), atol=1e-12)
        assert stats[key]["count"] == [sum(LENGTHS)]


def test_any_order_and_any_number_of_writers_make_the_same_files(folder, tmp_path):
    write(tmp_path / "shuffled", [5, 1, 6, 0, 2, 4, 3])
    assert contents(tmp_path / "shuffled") == contents(folder)
    for index in (4, 0, 2, 1, 6, 5, 3):
        assert index in writer(tmp_path / "one by one").missing(len(LENGTHS))
        write(tmp_path / "one by one", [index])
    assert contents(tmp_path / "one by one") == contents(folder)


def test_a_killed_writer_leaves_whole_episodes_and_the_next_one_goes_on(folder, tmp_path):
    root = tmp_path / "killed"
    write(root, [0, 1, 2, 3])
    unfinished = ("data/chunk-000/file-001.parquet", "videos/observation.images.wrist/chunk-000/file-001.mp4")
    for place in unfinished:
        (root / place).write_bytes(b"half of it")  # joined, but for the last step
    (root / "videos/observation.images.static/chunk-000/file-001.mp4.part").write_bytes(b"")
    episode_file(root, 4).with_suffix(".123.part").write_bytes(b"half an episode")
    for name in ("info.json", "stats.json", "tasks.parquet"):
        (root / "meta" / name).unlink()  # they follow from meta/episodes
    again = writer(root)
    assert again.missing(7) == [4, 5, 6]
    assert json.loads((root / "meta/info.json").read_text())["total_episodes"] == 3
    assert len(list((root / "data").rglob("*"))) == 2
    again.close()
    write(root, [4, 5, 6])
    assert contents(root) == contents(folder)


def test_a_single_number_is_a_scalar_as_lerobot_has_it(tmp_path):
    write(tmp_path / "one", states=1)
    table = pq.read_table(tmp_path / "one/data/chunk-000/file-000.parquet")
    assert str(table.schema.field("observation.state").type) == "float"
    source = LeRobot(root=str(tmp_path / "one"), num_frames=2, height=15, width=17)
    clip = source.split("train")[0]
    index, start = map(int, clip["id"].rpartition("episode_")[2].split("@"))
    assert np.array_equal(clip["state"].numpy(), episode(index, states=1).states[start : start + 2])


def test_more_episodes_go_into_further_files(folder, tmp_path):
    root = tmp_path / "longer"
    first = writer(root)
    for index in range(4):
        keep_episode(root, index, episode(index), fps=FPS)
    first.join(4)
    assert json.loads((root / "meta/info.json").read_text())["total_episodes"] == 4
    assert not (root / "unjoined").exists()
    first.close()
    write(root, range(4, 7))
    stats = json.loads((root / "meta/stats.json").read_text())
    assert stats == json.loads((folder / "meta/stats.json").read_text())
    assert writer(root).missing(9) == [7, 8]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SourceError, match="is no recording; take another folder"):
        writer(tmp_path)
    write(tmp_path / "mine", [0])
    with pytest.raises(SourceError, match="was recorded with seed=0; take another folder"):
        writer(tmp_path / "mine", seed=1)


def test_two_recordings_into_one_folder_at_once_are_refused(tmp_path):
    first = writer(tmp_path / "mine")
    with pytest.raises(SourceError, match="mine: another recording is writing to it; wait until it ends"):
        writer(tmp_path / "mine")
    first.close()
    assert writer(tmp_path / "mine").missing(1) == [0]
