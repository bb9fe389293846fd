"""Videos of all shapes and lengths: each in the bucket that fits it best, none left out."""

import gc
import pickle
from collections import Counter

import pytest

from datamodules import ClipSource, SourceError
from datamodules.bucketed_videos import BucketedVideos
from datamodules.loader import ClipDataModule
from tests.media import read_numbers, write_video

SHAPES = {  # name: frames, height, width
    "wide_long": (40, 48, 80),
    "wide_short": (10, 48, 80),
    "square": (20, 64, 64),
    "tall": (24, 96, 48),
    "very_wide": (18, 32, 160),
    "tiny": (4, 48, 48),
}


def source(root, **options):
    usual = {"num_frames": [9, 17, 33], "height": 32, "width": 32, "step": 8, "fps": 10}
    return BucketedVideos(root=str(root), **usual | options)


@pytest.fixture(autouse=True)
def closed():
    """Files that stay open until they are collected would be counted by tests of other readers."""
    yield
    gc.collect()


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val", "test"):
        for name, (frames, height, width) in SHAPES.items():
            if split == "train" or name == "square":
                path = tmp_path / split / f"{name}.mp4"
                write_video(path, frames, height=height, width=width)
                path.with_suffix(".txt").write_text(f"a {name} film")
    return tmp_path


def test_one_length_may_stand_alone(folder):
    one, listed = source(folder, num_frames=9), source(folder, num_frames=[9])
    assert one.spec() == listed.spec()
    assert one.settings() == listed.settings()


def test_every_video_goes_to_its_nearest_bucket(folder):
    made = source(folder)
    assert isinstance(made, ClipSource)
    clips = made.split("train")
    buckets = {clips.name_of(i): clips.bucket_of(i) for i in range(len(clips))}
    assert buckets == {
        "train/wide_long.mp4": (33, 24, 40),
        "train/wide_short.mp4": (9, 24, 40),
        "train/square.mp4": (17, 32, 32),
        "train/tall.mp4": (17, 40, 24),
        "train/very_wide.mp4": (17, 24, 40),
    }
    assert made.skipped == {"train/tiny.mp4": "too short for 9 frames at 10 a second"}
    counts = Counter(clips.name_of(i) for i in range(len(clips)))
    assert counts == {name: SHAPES[name[6:-4]][0] - buckets[name][0] + 1 for name in buckets}


def test_clips_have_the_shape_of_their_bucket_and_their_text(folder):
    clips = source(folder, stride=7).split("train")
    for i in range(len(clips)):
        clip, (frames, height, width) = clips[i], clips.bucket_of(i)
        assert clip["video"].shape == (frames, 3, height, width)
        name = clips.name_of(i)[len("train/") : -len(".mp4")]
        assert clip["text"] == f"a {name} film"
        numbers = read_numbers(clip["video"]) if name != "very_wide" else []  # cropped, the blocks are gone
        assert numbers == list(range(numbers[0], numbers[0] + frames)) if numbers else True
    assert len({clips.key_of(i) for i in range(len(clips))}) == len(clips)
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_the_spec_has_every_bucket_and_the_largest(folder):
    spec = source(folder).spec()
    assert (spec.num_frames, spec.height, spec.width) == (33, 24, 40)
    assert spec.sizes() == spec.buckets
    assert set(spec.sizes()) == {(33, 24, 40), (9, 24, 40), (17, 32, 32), (17, 40, 24), (17, 24, 40)}


def test_held_out_clips_do_not_overlap(folder):
    clips = source(folder).split("val")
    assert [read_numbers(clips[i]["video"])[0] for i in range(len(clips))] == [0]
    assert source(folder, num_frames=[9]).split("val")[1]["video"].shape == (9, 3, 32, 32)


def test_keys_change_with_the_file_the_caption_and_the_place_alone(folder, tmp_path):
    made = source(folder)
    clips = made.split("train")
    keys = {clips.name_of(i): [] for i in range(len(clips))}
    for i in range(len(clips)):
        keys[clips.name_of(i)].append(clips.key_of(i))
    write_video(folder / "train" / "square.mp4", 21, height=64, width=64)
    (folder / "train" / "tall.txt").write_text("another caption")
    (folder / "train" / "wide_long.mp4").rename(folder / "train" / "renamed.mp4")
    (folder / "train" / "wide_long.txt").rename(folder / "train" / "renamed.txt")
    clips = source(folder).split("train")
    now = {clips.name_of(i): [] for i in range(len(clips))}
    for i in range(len(clips)):
        now[clips.name_of(i)].append(clips.key_of(i))
    assert not set(now["train/square.mp4"]) & set(keys["train/square.mp4"])
    assert not set(now["train/tall.mp4"]) & set(keys["train/tall.mp4"])
    assert now["train/renamed.mp4"] == keys["train/wide_long.mp4"]
    assert now["train/wide_short.mp4"] == keys["train/wide_short.mp4"]


def test_a_copy_for_a_worker_reads_the_same(folder):
    clips = source(folder).split("train")
    clips[0]
    copy = pickle.loads(pickle.dumps(clips))
    assert (copy[3]["video"] == clips[3]["video"]).all()
    shared = {id(part.open_videos) for part in copy.parts}
    assert len(shared) == 1


def test_batches_are_of_one_size_and_all_clips_are_used(folder):
    made = source(folder, stride=8)
    data = ClipDataModule(
        source=made, batch_size=2, num_batches=80, val_clips=4, num_workers=0, seed=0, budget="pixels"
    )
    sizes = Counter(batch["video"].shape for batch in data.train_dataloader())
    assert len({shape[1:] for shape in sizes}) == len(made.split("train").buckets)
    assert {shape[0] for shape in sizes if shape[1] == 33} == {2}
    assert {shape[0] for shape in sizes if shape[1] == 9} == {7}
    assert all(batch["video"].shape[1:] == (17, 3, 32, 32) for batch in data.val_dataloader())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": []}, "at least one length"),
        ({"num_frames": [100]}, "no usable video"),
        ({"step": 64}, "no multiples of 64 have an area of about 1024"),
    ],
)
def test_what_fits_nothing_is_an_error(folder, options, message):
    with pytest.raises(SourceError, match=message):
        source(folder, **options).split("train")
