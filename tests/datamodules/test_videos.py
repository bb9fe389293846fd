"""Own videos as clips: the right frames, the right files, the same everywhere."""

import itertools
import json
import logging
import os
import pickle
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from components.clip import ClipSpec
from datamodules import ClipSource, SourceError, video_index
from datamodules.decoding import OpenVideos, VideoFile
from datamodules.probing import probe_video
from datamodules.video_index import CACHE_VARIABLE, find_videos, open_video, probe_all
from datamodules.video_splits import by_hash, grid_length
from datamodules.videos import Videos
from tests.media import (
    MATRICES,
    damage,
    numbered_frame,
    read_numbers,
    set_display_matrix,
    write_broken,
    write_images,
    write_npz,
    write_video,
)

FILM = Fraction(24000, 1001)
JITTER = np.random.Generator(np.random.PCG64(0)).uniform(-0.012, 0.012, 60)
FORMATS = {
    "h264.mp4": {"codec": "libx264", "b_frames": 2},
    "h264.mov": {"codec": "libx264", "b_frames": 0, "gop": 2},
    "h264.mkv": {"codec": "libx264", "b_frames": 3, "gop": 60},
    "h264.ts": {"codec": "libx264", "b_frames": 2},
    "hevc.mp4": {"codec": "libx265", "b_frames": 2},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2, "fps": 25},
    "mjpeg.avi": {"codec": "mjpeg", "b_frames": 0},
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def source(root, num_frames=4, height=24, width=32, **options) -> Videos:
    return Videos(
        root=root if isinstance(root, list) else str(root),
        num_frames=num_frames,
        height=height,
        width=width,
        **options,
    )


def three(folder: Path, **options) -> Path:
    """A folder of three short videos, one for each split."""
    first = write_video(folder / "a.mp4", 12, **options)
    for name in ("b", "c"):
        shutil.copy(first, folder / f"{name}.mp4")
    return folder


def nearest(times, fps: float, count: int) -> list[int]:
    """Reference: the frame nearest to k / fps after the first, of two equally near ones the earlier."""
    exact = [Fraction(time) - Fraction(times[0]) for time in times]
    wanted = [Fraction(k) / Fraction(fps) for k in range(count)]
    return [min(range(len(exact)), key=lambda i: (abs(exact[i] - w), i)) for w in wanted]


# --- which frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [None, 10, 4, 60], ids=lambda fps: f"to{fps}")
@pytest.mark.parametrize(
    "times",
    [
        [Fraction(k, 30) for k in range(60)],
        [Fraction(k, 25) for k in range(60)],
        [k / FILM for k in range(60)],
        [Fraction(5) + k / FILM for k in range(60)],
        [k / FILM + Fraction(round(float(JITTER[k]) * 90_000), 90_000) * (k > 0) for k in range(60)],
        [Fraction(k + (12 if k > 20 else 0), 20) for k in range(60)],
    ],
    ids=["30", "25", "film", "film_from_5s", "film_with_jitter", "with_a_pause"],
)
def test_frames_are_the_nearest_in_time(tmp_path, times, fps):
    rate = 60 / (times[-1] - times[0]) if fps is None else 30
    path = write_video(tmp_path / "a.mp4", times=times, fps=Fraction(rate).limit_denominator(1000))
    info = probe_video(str(path))
    asked = fps or info.fps
    count = grid_length(info.duration, info.fps, asked)
    ticks = [Fraction(round(time * 90_000), 90_000) for time in times]
    video = VideoFile(info).read([k / asked for k in range(count)], 48, 64)["video"]
    assert read_numbers(video) == nearest(ticks, asked, count)
    assert abs((count - 1) / asked - info.duration) < 1 / asked + 1 / info.fps


@pytest.mark.parametrize("name", FORMATS)
def test_every_window_of_every_format_is_exact_in_any_order(tmp_path, name):
    options = {"fps": 20} | FORMATS[name]
    path = write_video(tmp_path / name, 50, **options)
    reader, fps = VideoFile(probe_video(str(path))), options["fps"]
    assert reader.info.fps == pytest.approx(fps)
    assert reader.info.duration == pytest.approx(49 / fps, abs=1e-3)
    for start in np.random.Generator(np.random.PCG64(1)).permutation(47)[:16].tolist():
        video = reader.read([(start + k) / fps for k in range(4)], 48, 64)["video"]
        assert read_numbers(video) == [start, start + 1, start + 2, start + 3]


def test_clips_say_what_they_are(tmp_path):
    three(tmp_path / "clips", fps=20)
    clips = source(tmp_path / "clips", num_frames=3, fps=10).split("train")
    assert len(clips) == 4  # 0.55 s are 6 frames at 10 a second, in which 4 clips begin
    clip = clips[2]
    assert clip["video"].dtype == torch.uint8
    assert clip["video"].shape == (3, 3, 24, 32)
    assert clip["video"].is_contiguous()
    assert read_numbers(clip["video"]) == [4, 6, 8]
    assert clip["fps"].dtype == torch.float32
    assert clip["fps"].shape == ()
    assert clip["fps"] == 10
    assert clip["id"].removesuffix(".mp4@0.200s") in "abc"
    assert set(clip) == {"video", "fps", "text", "id"}
    assert len(list(clips)) == 4
    with pytest.raises(IndexError):
        clips[4]


def test_held_out_clips_do_not_overlap_and_training_clips_follow_the_stride(tmp_path):
    three(tmp_path, fps=10)
    clips = source(tmp_path, stride=3)
    assert [read_numbers(clip["video"])[0] for clip in clips.split("train")] == [0, 3, 6]
    for split in ("val", "test"):
        shown = [read_numbers(clip["video"]) for clip in clips.split(split)]
        assert shown == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


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


# --- how frames look ------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", MATRICES)
def test_turned_and_mirrored_videos_are_shown_as_by_a_player(tmp_path, turn):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = (250, 20, 20), (20, 250, 20), (20, 20, 250)
    path = write_video(tmp_path / "a.mp4", fps=10, times=np.arange(8) / 10, frames=[picture] * 8)
    info = probe_video(str(set_display_matrix(path, MATRICES[turn])))
    shown = {
        "as is": picture,
        "turn right": np.rot90(picture, -1),
        "turn left": np.rot90(picture, 1),
        "upside down": np.rot90(picture, 2),
        "mirror": picture[:, ::-1],
    }[turn]
    assert (info.height, info.width) == shown.shape[:2]
    video = VideoFile(info).read([0.0], *shown.shape[:2])["video"][0].permute(1, 2, 0).numpy()
    near = np.abs(video.astype(int) - shown).mean(axis=2) < 40  # but for the blur where colours meet
    assert near.mean() > 0.9


def test_pixels_become_square(tmp_path):
    path = write_video(tmp_path / "a.mp4", 6, pixel_aspect=Fraction(3, 2))
    info = probe_video(str(path))
    assert (info.height, info.width) == (48, 96)
    assert read_numbers(VideoFile(info).read([0.2], 24, 48)["video"]) == [2]


@pytest.mark.parametrize(("height", "width"), [(20, 20), (32, 64), (48, 30), (96, 96)])
def test_pictures_are_scaled_antialiased_to_cover_and_cropped_to_the_centre(tmp_path, height, width):
    y, x = np.mgrid[:80, :120]
    waves = (
        120 + 60 * np.sin(x / 7) * np.cos(y / 9) + 60 * ((x // 2 + y // 2) % 2)
    )  # the fine part must vanish
    picture = np.repeat(waves[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
    path = write_video(
        tmp_path / "a.mkv", fps=10, times=[0, 0.1], frames=[picture] * 2, codec="ffv1", b_frames=0
    )
    video = VideoFile(probe_video(str(path))).read([0.0], height, width)["video"][0]
    scale = max(height / 80, width / 120)
    size = (round(120 * scale), round(80 * scale))
    whole = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)).astype(int)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    expected = whole[top : top + height, left : left + width]
    assert np.abs(video.permute(1, 2, 0).numpy() - expected).mean() < 1.0


# --- which files ----------------------------------------------------------------------------------------


def test_files_globs_folders_and_lists(tmp_path):
    for name in ("a.mp4", "more/b.mp4", "more/deep/c.mp4", ".hidden/d.mp4", "more/._b.mp4"):
        write_video(tmp_path / name, 5)
    write_images(tmp_path / "more" / "pictures", 5)
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / "more" / "loop").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "same.mp4").symlink_to(tmp_path / "a.mp4")
    names = ["a.mp4", "more/b.mp4", "more/deep/c.mp4", "more/pictures"]

    def found(*root: Path | str) -> list[str]:
        return list(find_videos([str(r) for r in root] if len(root) > 1 else str(root[0])).videos)

    assert found(tmp_path) == names
    assert found(tmp_path / "a.mp4") == ["a.mp4"]
    assert found(tmp_path / "more" / "pictures") == ["pictures"]
    assert found(tmp_path / "*.mp4") == ["a.mp4"]
    assert found(tmp_path / "more" / "**" / "*.mp4") == ["b.mp4", "deep/c.mp4", "same.mp4"]
    assert found(tmp_path / "m*") == [*names[1:], "more/same.mp4"]
    assert found(tmp_path / "a.mp4", tmp_path / "more", tmp_path / "more" / "b.mp4") == names


@pytest.mark.parametrize("root", ["missing", "missing/*.mp4", [], "empty"])
def test_a_root_without_videos_is_an_error_of_one_line(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"data\.root=") as error:
        source(root).spec()
    assert "\n" not in str(error.value)


def test_unusable_files_are_skipped_and_listed_once(tmp_path, caplog):
    three(tmp_path)
    write_broken(tmp_path / "broken")
    Image.new("RGB", (8, 8)).save(tmp_path / "cover.png")
    with caplog.at_level(logging.WARNING, "datamodules"):
        videos = source(tmp_path)
        assert [len(videos.split(split)) for split in ("train", "val", "test")] == [9, 3, 3]
    (record,) = caplog.records
    reasons = {Path(name).stem: reason for name, reason in videos.skipped.items()}
    assert all(name in record.getMessage() for name in videos.skipped)
    for name, words in {
        "empty": "empty file",
        "text": "not a video",
        "cut_early": "cut off",
        "cut_late": "cut off",
        "sound": "only sound",
        "wave": "only sound",
        "short": "too short for 4 frames at 10 a second",
        "document": "not a video by its name (.pdf)",
        "cover": "a single image",
    }.items():
        assert words in reasons.pop(name)
    assert not reasons


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    write_broken(tmp_path)
    with pytest.raises(SourceError, match=r"no usable video; .*empty file: empty\.mp4") as error:
        source(tmp_path).split("train")
    assert "\n" not in str(error.value)


def test_a_clip_that_does_not_decode_is_replaced_by_the_same_other_clip(tmp_path, caplog):
    for name in ("train/a.mp4", "train/b.mp4", "train/c.mp4", "val/d.mp4", "test/e.mp4"):
        write_video(tmp_path / name, 100)
    damage(tmp_path / "train" / "b.mp4", 0.6, 0.75)
    clips = source(tmp_path).split("train")
    with caplog.at_level(logging.WARNING, "datamodules"):
        ids = [clips[i]["id"] for i in range(97, 194)]
    own = [name.startswith("train/b.mp4") for name in ids]
    assert own[0]
    assert own[-1]  # what decodes of the damaged video is used
    assert 5 < own.count(False) < 60
    (record,) = caplog.records
    assert "train/b.mp4" in record.getMessage()
    backwards = source(tmp_path).split("train")
    assert [backwards[i]["id"] for i in reversed(range(97, 194))] == ids[::-1]


def test_a_video_that_vanished_does_not_stop_the_run_but_none_left_does(tmp_path):
    for name in ("train/a.mp4", "train/b.mp4", "val/c.mp4", "test/d.mp4"):
        write_video(tmp_path / name, 8)
    clips, test = source(tmp_path).split("train"), source(tmp_path).split("test")
    (tmp_path / "train" / "a.mp4").unlink()
    assert clips[0]["id"].startswith("train/b.mp4")
    (tmp_path / "test" / "d.mp4").unlink()
    with pytest.raises(SourceError, match=r"test/d\.mp4"):
        test[0]


# --- image folders and arrays ---------------------------------------------------------------------------


def test_numbered_images_are_a_video_in_the_order_of_their_numbers(tmp_path):
    write_images(tmp_path / "walk", 12)
    (tmp_path / "walk.txt").write_text("a walk")
    write_video(tmp_path / "b.mp4", 12)
    write_video(tmp_path / "c.mp4", 12)
    (found,) = [
        s for part in source(tmp_path, fps=5)._library.splits.values() for s in part if s.name == "walk"
    ]
    assert (found.info.fps, found.fps, found.end, found.text) == (10.0, 5, 6, "a walk")
    video = open_video(found.info).read([0.0, 0.2, 1.1], 24, 32)["video"]
    assert read_numbers(video) == [0, 2, 11]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("channels_first", [False, True])
def test_arrays_come_with_their_actions_and_states(tmp_path, channels_first, compressed):
    actions = np.arange(39 * 2, dtype=np.float64).reshape(39, 2)
    state = np.arange(40 * 3).reshape(40, 3)
    for name in "abc":
        write_npz(
            tmp_path / f"{name}.npz", fps=20, channels_first=channels_first, compressed=compressed,
            actions=actions, state=state,
        )  # fmt: skip
    videos = source(tmp_path, fps=10)
    assert videos.spec() == ClipSpec(4, 24, 32, action_dim=4, state_dim=3)
    clip = videos.split("train")[1]
    assert read_numbers(clip["video"]) == [2, 4, 6, 8]
    assert clip["actions"].dtype == clip["state"].dtype == torch.float32
    assert clip["actions"].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]  # two a step
    assert clip["state"].tolist() == state[[2, 4, 6, 8]].tolist()


def test_arrays_whose_actions_cannot_follow_are_skipped(tmp_path):
    three(tmp_path)
    write_npz(tmp_path / "moved.npz", fps=20, actions=np.zeros((39, 2)))
    assert source(tmp_path, fps=7).skipped == {
        "moved.npz": "has actions at 20 fps, which fps=7 does not divide"
    }


def test_actions_are_left_out_where_videos_disagree(tmp_path, caplog):
    three(tmp_path)
    write_npz(tmp_path / "train.npz", fps=10, actions=np.zeros((39, 2)))
    videos = source(tmp_path)
    assert videos.spec().action_dim == 0
    assert "do not agree in the size of actions" in caplog.text
    for split in ("train", "val", "test"):
        assert all("actions" not in clip for clip in videos.split(split))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"frames": np.zeros((9, 8, 8, 3), np.uint8)}, "no array `video`, only frames"),
        ({"video": np.zeros((9, 8, 8, 3), np.float32)}, "float32, not"),
        ({"video": np.zeros((9, 8, 8), np.uint8)}, "not (t, h, w, 3)"),
        (
            {"video": np.zeros((9, 8, 8, 3), np.uint8), "actions": np.zeros((3, 2))},
            "`actions` is (3, 2) beside",
        ),
        ({"video": np.zeros((9, 8, 8, 3), np.uint8), "fps": np.float64(0)}, "fps is 0.0"),
        ({"video": np.array([{}])}, "object"),
    ],
)
def test_other_arrays_are_skipped_with_a_reason(tmp_path, arrays, words):
    three(tmp_path)
    np.savez(tmp_path / "x.npz", **arrays)
    (tmp_path / "y.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-30])
    skipped = source(tmp_path).skipped
    assert words in skipped["x.npz"]
    assert "not an .npz of arrays" in skipped["y.npz"]


# --- captions -------------------------------------------------------------------------------------------


def test_captions_come_from_text_files_and_a_table(tmp_path, caplog):
    for name in ("a.mp4", "b.mp4", "c.mp4", "more/d.mp4"):
        write_video(tmp_path / name, 6)
    (tmp_path / "a.txt").write_text("\ufeffa red\nball \n", encoding="utf-8")
    (tmp_path / "captions.csv").write_text(
        'file_name,text\na.mp4,overruled\nmore\\d.mp4,"rolls, then stops"\ngone.mp4,nobody\n',
        encoding="utf-8",
    )
    videos = source(tmp_path)
    texts = {s.name: s.text for part in videos._library.splits.values() for s in part}
    assert texts == {"a.mp4": "a red ball", "b.mp4": "", "c.mp4": "", "more/d.mp4": "rolls, then stops"}
    assert "not among the videos: gone.mp4" in caplog.text
    assert all(clip["text"] == texts[clip["id"].split("@")[0]] for clip in videos.split("train"))


def test_a_table_without_its_columns_is_an_error(tmp_path):
    three(tmp_path)
    (tmp_path / "captions.csv").write_text("video;caption\na.mp4;x\n")
    with pytest.raises(SourceError, match="file_name,text"):
        source(tmp_path).spec()


# --- splits ---------------------------------------------------------------------------------------------


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
    with pytest.raises(SourceError, match=r"a\.mp4 of 1\.4s is too short .* \(2\.2s\)"):
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


# --- the same everywhere, and no more memory than needed ------------------------------------------------


def same(a, b) -> bool:
    return a["id"] == b["id"] and a["text"] == b["text"] and torch.equal(a["video"], b["video"])


def test_a_clip_depends_on_its_index_alone(tmp_path):
    for name in ("a.mp4", "b.mkv", "c.ts", "d.webm", "e.avi"):
        write_video(
            tmp_path / "train" / name,
            30,
            codec={"d.webm": "libvpx-vp9", "e.avi": "mpeg4"}.get(name, "libx264"),
        )
    write_video(tmp_path / "val" / "f.mp4", 8)
    write_video(tmp_path / "test" / "g.mp4", 8)
    clips = source(tmp_path, num_frames=3).split("train")
    forwards = [clips[i] for i in range(len(clips))]
    other = source(tmp_path, num_frames=3).split("train")
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(clips)).tolist()
    assert all(same(other[i], forwards[i]) for i in order)
    assert all(same(clip, forwards[i]) for i, clip in enumerate(pickle.loads(pickle.dumps(clips))))
    for workers, start in ((2, "fork"), (1, "spawn")):  # with videos open in this process
        loader = DataLoader(clips, batch_size=None, num_workers=workers, multiprocessing_context=start)
        assert all(same(clip, forwards[i]) for i, clip in enumerate(loader))


def test_only_so_many_videos_are_open(tmp_path):
    paths = [write_video(tmp_path / f"{k}.mp4", 8) for k in range(5)]
    infos = [probe_video(str(path)) for path in paths]
    before = len(os.listdir("/proc/self/fd"))
    videos = OpenVideos(open_video, limit=2)
    for info in infos * 3:
        videos[info].read([0.0, 0.1], 24, 32)
        assert len(videos) <= 2
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert videos[infos[-1]] is videos[infos[-1]]
    videos.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_files_are_probed_once_and_again_only_if_they_change(tmp_path, monkeypatch, cache):
    three(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"")
    first = probe_all(find_videos(str(tmp_path)))
    assert len(list(cache.iterdir())) == 1
    probed = []
    real = video_index._probe
    monkeypatch.setattr(video_index, "_probe", lambda path: probed.append(path.name) or real(path))
    assert probe_all(find_videos(str(tmp_path))) == first
    assert probed == []
    write_video(tmp_path / "b.mp4", 20)
    write_video(tmp_path / "new.mp4", 5)
    infos, skipped = probe_all(find_videos(str(tmp_path)))
    assert sorted(probed) == ["b.mp4", "new.mp4"]
    assert infos["b.mp4"].num_frames == 20
    assert skipped == {"broken.mp4": "empty file"}
    next(cache.iterdir()).write_text("{")
    assert probe_all(find_videos(str(tmp_path))) == (infos, skipped)


def test_a_cache_that_cannot_be_written_is_no_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    assert len(source(three(tmp_path / "clips")).split("train")) == 9


def test_videos_is_a_clip_source_and_opens_nothing_before_it_is_asked(tmp_path):
    videos = source(tmp_path / "missing")
    assert isinstance(videos, ClipSource)
    with pytest.raises(SourceError):
        videos.spec()
    for wrong in ({"num_frames": 0}, {"fps": 0.0}, {"stride": 0}, {"assumed_fps": -1.0}):
        with pytest.raises(SourceError, match="must be"):
            source(tmp_path, **wrong)


def test_decoding_times_stand_in_for_scrambled_presentation_times(tmp_path):
    """Some writers store frames with b-frames as if they were shown in the order of their decoding."""
    import av

    path = write_video(tmp_path / "good.mp4", 40, b_frames=2)
    with av.open(str(path)) as old, av.open(str(tmp_path / "bad.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, stream
                new.mux(packet)
    info = probe_video(str(tmp_path / "bad.mkv"))
    assert info.by_dts
    numbers = [read_numbers(VideoFile(info).read([k / 10], 24, 32)["video"])[0] for k in (0, 3, 20, 5, 30)]
    assert numbers == [0, 3, 20, 5, 30]


def test_the_index_is_plain_data(tmp_path, cache):
    three(tmp_path)
    probe_all(find_videos(str(tmp_path)))
    (entries,) = (json.loads(file.read_text()) for file in cache.iterdir())
    assert sorted(entries) == ["a.mp4", "b.mp4", "c.mp4"]
    assert entries["a.mp4"]["stamp"][0] == (tmp_path / "a.mp4").stat().st_size


def test_numbers_survive_what_tests_do_to_them():
    assert all(
        read_numbers(numbered_frame(k, 24, 32).transpose(2, 0, 1)[None]) == [k] for k in (0, 1, 77, 4095)
    )
