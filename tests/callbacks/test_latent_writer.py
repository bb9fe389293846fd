"""Caches of latents come out the same in any number of processes and after any stop."""

import hashlib
import signal

import pytest
import torch

from callbacks.checkpoint import Interrupted
from datamodules import SourceError
from datamodules.latent_cache import LatentCache
from datamodules.latent_folder import CacheFolder
from datamodules.moving_shapes import MovingShapes
from recipes.latent_caching import LatentCaching
from tests.latent_jobs import fill, killed
from tests.latent_stand_ins import LetterEncoder, PatchTokenizer
from tests.media import write_video

pytestmark = pytest.mark.filterwarnings("ignore")


def shapes(**options) -> MovingShapes:
    return MovingShapes(**{"num_frames": 5, "height": 32, "width": 32, "seed": 0, "num_clips": 100} | options)


def manifest(root) -> str:
    return hashlib.sha256((root / "manifest.jsonl").read_bytes()).hexdigest()


@pytest.fixture
def whole(tmp_path) -> str:
    """The manifest of a job that nothing disturbed."""
    fill(tmp_path / "whole", shapes(), PatchTokenizer(), LetterEncoder())
    return manifest(tmp_path / "whole")


def test_a_cache_holds_what_was_chosen(tmp_path):
    fill(tmp_path, shapes(), PatchTokenizer(), train_clips=30, val_clips=6)
    entries = CacheFolder(tmp_path).manifest()
    assert [sum(entry.split == split for entry in entries) for split in ("train", "val", "test")] == [
        30,
        6,
        6,
    ]
    assert [entry.key for entry in entries] == sorted({entry.key for entry in entries})
    assert len(list((tmp_path / "shards").iterdir())) == 4 + 1 + 1
    ids = {entry.id for entry in entries if entry.split == "val"}
    assert ids == {f"moving_shapes/seed0/val/{i * 1000 // 6}" for i in range(6)}


def test_two_processes_write_what_one_does(tmp_path, whole):
    fill(tmp_path / "two", shapes(), PatchTokenizer(), LetterEncoder(), processes=2)
    assert manifest(tmp_path / "two") == whole
    one = {path.name: path.read_bytes() for path in tmp_path.glob("whole/shards/*")}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("two/shards/*")} == one


@pytest.mark.parametrize("write", [2, 4, 8])  # the first is of cache.json, the last of the manifest
def test_a_killed_job_goes_on_to_the_same_cache(tmp_path, whole, write):
    root = tmp_path / "killed"
    killed(write, "fsync", root, shapes(), PatchTokenizer(), LetterEncoder())
    assert not (root / "manifest.jsonl").exists()
    done = {path: path.read_bytes() for path in root.glob("shards/*.safetensors")}
    assert len(done) == max(0, write - 2)
    assert len(list(root.glob("**/*.new*"))) == 1
    with pytest.raises(SourceError, match="no finished cache"):
        LatentCache(root=str(root), source=shapes()).split("train")
    fill(root, shapes(), PatchTokenizer(), LetterEncoder())
    assert manifest(root) == whole
    assert all(path.read_bytes() == content for path, content in done.items())
    assert not list(root.glob("**/*.new*"))


def test_a_job_that_goes_on_in_two_processes(tmp_path, whole):
    root = tmp_path / "killed"
    killed(4, "fsync", root, shapes(), PatchTokenizer(), LetterEncoder())
    fill(root, shapes(), PatchTokenizer(), LetterEncoder(), processes=2)
    assert manifest(root) == whole


def test_fewer_shards_than_processes(tmp_path, whole):
    root = tmp_path / "killed"
    killed(9, "fsync", root, shapes(), PatchTokenizer(), LetterEncoder())
    (next(root.glob("shards/[!n]*"))).unlink()
    fill(root, shapes(), PatchTokenizer(), LetterEncoder(), processes=2)
    assert manifest(root) == whole
    before = {path: path.stat().st_mtime_ns for path in root.glob("shards/*")}
    fill(root, shapes(), PatchTokenizer(), LetterEncoder(), processes=2)  # nothing left to do
    assert manifest(root) == whole
    assert before == {path: path.stat().st_mtime_ns for path in root.glob("shards/*")}


def test_a_signal_ends_it_after_a_batch(tmp_path, whole, monkeypatch):
    root, encode, calls = tmp_path / "stopped", PatchTokenizer.encode, []

    def encode_and_signal(self, video):
        calls.append(video)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGTERM)
        return encode(self, video)

    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(PatchTokenizer, "encode", encode_and_signal)
        with pytest.raises(Interrupted, match="SIGTERM at step 5"):
            fill(root, shapes(), PatchTokenizer(), LetterEncoder())
    assert signal.getsignal(signal.SIGTERM) == handler
    assert len(calls) == 5
    fill(root, shapes(), PatchTokenizer(), LetterEncoder())
    assert manifest(root) == whole


def test_more_clips_are_added_and_none_made_again(tmp_path):
    fill(tmp_path, shapes(), PatchTokenizer(), train_clips=10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/*")}
    ids = {clip["id"] for clip in LatentCache(root=str(tmp_path), source=shapes()).split("train")}
    fill(tmp_path, shapes(), PatchTokenizer(), train_clips=20)
    cache = LatentCache(root=str(tmp_path), source=shapes())
    assert len(ids) == 10
    assert ids < {clip["id"] for clip in cache.split("train")}
    assert before.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/*")}.items()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"source": shapes(speed=1.0)}, r"source.speed \(1.5 there, 1.0 here\)"),
        ({"source": shapes(height=36)}, r"source.height \(32 there, 36 here\)"),
        ({"tokenizer": PatchTokenizer(seed=1)}, r"tokenizer weights \(\w+ there, \w+ here\)"),
        ({"tokenizer": PatchTokenizer(gain=2.0)}, r"tokenizer.gain \(1.0 there, 2.0 here\)"),
        ({"text_encoder": LetterEncoder(seed=1)}, r"text encoder weights \(\w+ there, \w+ here\)"),
        ({"text_encoder": None}, r"text encoder \(\S+LetterEncoder there, None here\)"),
        ({"dtype": "bfloat16"}, r"dtype \(float32 there, bfloat16 here\)"),
        ({"precision": "bf16-mixed"}, r"precision \(32-true there, bf16-mixed here\)"),
    ],
)
def test_what_changed_is_refused_by_its_name(tmp_path, change, named):
    given = {"source": shapes(), "tokenizer": PatchTokenizer(), "text_encoder": LetterEncoder()}
    fill(tmp_path, **given, train_clips=2, val_clips=1)
    before = manifest(tmp_path)
    with pytest.raises(SourceError, match=named) as error:
        fill(tmp_path, **given | change, train_clips=2, val_clips=1)
    assert "\n" not in str(error.value)
    assert manifest(tmp_path) == before


def test_videos_name_fps_and_the_resize_rule(tmp_path, monkeypatch):
    from datamodules import videos

    for i in range(3):
        write_video(tmp_path / "films" / f"{i}.mp4", 12)
    sizes = {"root": str(tmp_path / "films"), "num_frames": 5, "height": 32, "width": 32}
    fill(tmp_path / "cache", videos.Videos(**sizes, fps=10), PatchTokenizer(), train_clips=None)
    with pytest.raises(SourceError, match=r"source.fps \(10 there, 5 here\)"):
        fill(tmp_path / "cache", videos.Videos(**sizes, fps=5), PatchTokenizer(), train_clips=None)
    monkeypatch.setattr(videos, "RESIZED", "by its long side")
    with pytest.raises(SourceError, match=r"source.resized \(to cover.* there, by its long side here\)"):
        LatentCache(root=str(tmp_path / "cache"), source=videos.Videos(**sizes, fps=10)).split("train")


def test_a_stream_cannot_be_cached(tmp_path):
    from tests.datamodules.numbered_clips import Stream, Tables

    class Streams(Tables):
        def split(self, name):
            return Stream(10)

    with pytest.raises(SourceError, match="a stream cannot be cached"):
        fill(tmp_path, Streams(), PatchTokenizer())
    fill(tmp_path, shapes(), PatchTokenizer(), train_clips=2, val_clips=1)  # the folder is still free


def test_each_text_is_encoded_once_a_batch_and_alone():
    encoder = LetterEncoder()
    caching = LatentCaching(tokenizer=PatchTokenizer(), text_encoder=encoder, seed=0)
    clip = {"video": torch.zeros(3, 5, 3, 8, 8, dtype=torch.uint8), "text": ["b", "a longer one", "b"]}
    made = caching.predict_step(clip, 0)
    assert encoder.calls == 2
    assert {text: len(features.mask[0]) for text, features in made.texts.items()} == {
        "b": 2,
        "a longer one": 13,
    }
    caching.predict_step(clip, 1)
    assert encoder.calls == 2
    assert made.clips["latents"].shape == (3, 2, 4, 2, 2)


def test_an_encoder_that_trains_is_not_cached():
    caching = LatentCaching(tokenizer=PatchTokenizer(), text_encoder=LetterEncoder(frozen=False), seed=0)
    assert caching.features(["a text"]) == {}
    assert caching.fingerprint()["text encoder"] is None


def test_sizes_that_the_tokenizer_refuses_are_told_before_the_start():
    caching = LatentCaching(tokenizer=PatchTokenizer(), seed=0)
    caching.check_fits(shapes().spec())
    with pytest.raises(ValueError, match="cannot encode 6 frames of 32x32"):
        caching.check_fits(shapes(num_frames=6).spec())
