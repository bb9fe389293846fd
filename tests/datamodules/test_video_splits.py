"""Splits that share no frame and stay where they are."""

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules import SourceError
from datamodules.video_splits import by_hash, grid_length
from datamodules.videos import Videos
from tests.media import read_numbers, write_video


def source(root: Path, num_frames: int = 4, **options) -> Videos:
    return Videos(root=str(root), num_frames=num_frames, height=24, width=32, **options)


def names_by_split(videos: Videos) -> dict[str, set[str]]:
    return {split: {s.name for s in videos.split(split).stretches} for split in ("train", "val", "test")}


def test_splits_share_no_video_and_depend_on_names_below_the_root_alone(tmp_path):
    here, there = tmp_path / "here", tmp_path / "far" / "away"
    first = write_video(here / "0.mp4", 5)
    for k in range(1, 30):
        (here / f"{k % 3}").mkdir(exist_ok=True)
        shutil.copy(first, here / f"{k % 3}" / f"{k}.mp4")
    parts = names_by_split(source(here))
    assert len(set.union(*parts.values())) == sum(map(len, parts.values())) == 30
    assert all(parts.values())
    shutil.copytree(here, there)
    assert names_by_split(source(there)) == parts
    assert names_by_split(source(there / "**" / "*.mp4")) == parts
    for k in range(30, 40):
        shutil.copy(first, there / f"{k}.mp4")
    more = names_by_split(source(there))
    assert all(parts[split] <= more[split] for split in parts)


def test_the_hash_does_not_change_between_versions():
    names = [f"clip_{k:02d}.mp4" for k in range(12)]
    taken = by_hash(names, ("train", "val", "test"))
    assert [k for k in range(12) if taken[names[k]] == "val"] == [3, 8]
    assert [k for k in range(12) if taken[names[k]] == "test"] == [10]


@given(st.lists(st.text("abc/é.", min_size=1), min_size=3, max_size=40, unique=True))
def test_each_split_gets_a_video_in_whatever_order_they_come(names):
    taken = by_hash(names, ("train", "val", "test"))
    assert set(taken.values()) == {"train", "val", "test"}
    assert by_hash(names[::-1], ("train", "val", "test")) == taken


@pytest.mark.parametrize(("count", "fps"), [(1, None), (2, None), (1, 20.0), (1, 5.0)])
def test_one_or_two_videos_are_cut_in_time_and_share_no_frame(tmp_path, count, fps):
    for k in range(count):
        write_video(tmp_path / f"{k}.mp4", 80, fps=10)
    videos = source(tmp_path, fps=fps)
    shown = {
        split: [read_numbers(c["video"]) for c in videos.split(split)] for split in ("train", "val", "test")
    }
    train, val, test = (set(itertools.chain(*numbers)) for numbers in shown.values())
    assert max(train) + 5 <= min(val)
    assert max(val) + 5 <= min(test)
    assert max(train) > 45
    assert max(test) == (78 if fps == 5 else 79)


def test_a_single_short_video_is_an_error(tmp_path):
    write_video(tmp_path / "a.mp4", 14)
    with pytest.raises(SourceError, match=r"a\.mp4 of 1\.4s is too short .* takes 2\.2s"):
        source(tmp_path).split("train")


def test_folders_named_after_splits_are_used_as_they_are(tmp_path):
    first = write_video(tmp_path / "train" / "0.mp4", 5)
    for name in ("train/1", "train/2", "train/3", "validation/4", "test/5", "extra/6"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(first, tmp_path / f"{name}.mp4")
    videos = source(tmp_path)
    parts = names_by_split(videos)
    assert {split: len(names) for split, names in parts.items()} == {"train": 4, "val": 1, "test": 1}
    assert all(name.startswith(split) for split, names in parts.items() for name in names)
    assert videos.skipped == {"extra/6.mp4": "outside of train/, val/ and test/"}
    shutil.rmtree(tmp_path / "test")
    parts = names_by_split(source(tmp_path))
    assert parts["val"] == {"validation/4.mp4"}
    assert len(parts["test"]) == 1
    assert not parts["test"] & parts["train"]
    for k in (1, 2, 3):
        (tmp_path / "train" / f"{k}.mp4").unlink()
    with pytest.raises(SourceError, match="add test/ folders or more videos"):
        source(tmp_path).split("test")


@given(
    frames=st.integers(1, 5000),
    own=st.sampled_from([10.0, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 60.0]),
    fps=st.floats(0.5, 120),
)
def test_the_grid_ends_with_the_video(frames, own, fps):
    duration = (frames - 1) / own
    length = grid_length(duration, own, fps)
    assert (length - 1) / fps <= duration + 0.5 / own
    assert length / fps >= duration + 0.5 / own - 1e-5
    assert grid_length(duration, own, own) == frames
