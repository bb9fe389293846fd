"""Own videos as clips: what a clip holds, what is left out, the same everywhere."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datamodules import ClipSource, SourceError
from datamodules.videos import Videos
from tests.media import damage, read_numbers, write_broken, write_three, write_video


def source(root: Path, num_frames: int = 4, **options) -> Videos:
    return Videos(root=str(root), num_frames=num_frames, height=24, width=32, **options)


def test_clips_say_what_they_are(tmp_path):
    write_three(tmp_path / "clips", fps=20)
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
    write_three(tmp_path, fps=10)
    clips = source(tmp_path, stride=3)
    assert [read_numbers(clip["video"])[0] for clip in clips.split("train")] == [0, 3, 6]
    for split in ("val", "test"):
        shown = [read_numbers(clip["video"]) for clip in clips.split(split)]
        assert shown == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_unusable_files_are_skipped_and_listed_once(tmp_path, caplog):
    write_three(tmp_path)
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
    write_three(tmp_path)
    (tmp_path / "captions.csv").write_text("video;caption\na.mp4;x\n")
    with pytest.raises(SourceError, match="file_name,text"):
        source(tmp_path).spec()


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


def test_videos_is_a_clip_source_and_opens_nothing_before_it_is_asked(tmp_path):
    videos = source(tmp_path / "missing")
    assert isinstance(videos, ClipSource)
    with pytest.raises(SourceError):
        videos.spec()
    for wrong in ({"num_frames": 0}, {"fps": 0.0}, {"stride": 0}, {"assumed_fps": -1.0}):
        with pytest.raises(SourceError, match="must be"):
            source(tmp_path, **wrong)
