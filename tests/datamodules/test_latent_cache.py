"""Cached latents: what encoding on the way gives, clip by clip, and nothing that no longer belongs."""

import pickle
from types import SimpleNamespace

import pytest
import torch

from components.latent_tokenizers.causal_vae import CausalVAE
from datamodules import ClipSource, SourceError
from datamodules.bucketed_videos import BucketedVideos
from datamodules.latent_cache import LatentCache
from datamodules.loader import ClipDataModule
from datamodules.moving_shapes import MovingShapes
from datamodules.videos import Videos
from recipes.world_model import pixels
from tests.latent_jobs import fill
from tests.latent_stand_ins import LetterEncoder, PatchTokenizer
from tests.media import write_video

pytestmark = pytest.mark.filterwarnings("ignore")


def shapes(**options) -> MovingShapes:
    return MovingShapes(**{"num_frames": 5, "height": 32, "width": 32, "seed": 0, "num_clips": 30} | options)


def loader(source, **options) -> ClipDataModule:
    usual = {"batch_size": 4, "num_batches": 12, "val_clips": 6, "num_workers": 0, "seed": 0}
    return ClipDataModule(source=source, **usual | options)


@pytest.fixture
def films(tmp_path):
    """Films of two shapes and lengths in train/, val/ and test/, with captions."""
    for split in ("train", "val", "test"):
        for name, frames, height, width in (("a", 12, 48, 80), ("b", 20, 48, 80), ("c", 12, 64, 64)):
            path = tmp_path / "films" / split / f"{name}.mp4"
            write_video(path, frames, height=height, width=width)
            path.with_suffix(".txt").write_text(f"film {name}")
    return tmp_path / "films"


def bucketed(folder) -> BucketedVideos:
    return BucketedVideos(root=str(folder), num_frames=[9, 17], height=32, width=32, step=8, fps=10)


def cached(root, source, tokenizer=None, text_encoder=None, **options) -> LatentCache:
    fill(root, source, tokenizer or PatchTokenizer(), text_encoder, **options)
    return LatentCache(root=str(root), source=source)


def test_training_clips_are_the_source_s_with_latents_for_video(tmp_path):
    source, tokenizer = shapes(), PatchTokenizer()
    cache = cached(tmp_path, source, tokenizer)
    assert isinstance(cache, ClipSource)
    assert cache.spec() == source.spec()
    originals, clips = source.split("train"), cache.split("train")
    assert len(clips) == len(originals)
    for i in range(len(clips)):
        original, clip = originals[i], clips[i]
        video = original.pop("video")
        assert torch.equal(clip.pop("latents"), tokenizer.encode(pixels(video)[None])[0])
        assert clip.keys() == original.keys()
        for name, value in original.items():
            same = torch.equal(clip[name], value) if isinstance(value, torch.Tensor) else clip[name] == value
            assert same, name
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_a_real_tokenizer_s_latents_are_those_of_encoding_on_the_way(tmp_path):
    torch.manual_seed(0)
    sizes = {"channels": 4, "patch": [1, 2], "widths": [8, 16, 16], "halvings": ["both", "time"], "blocks": 1}
    tokenizer = CausalVAE(**sizes).eval()
    cache = cached(tmp_path, shapes(), tokenizer, train_clips=8)
    videos = {clip["id"]: clip["video"] for clip in shapes().split("train")}
    for batch in loader(cache, num_batches=2).train_dataloader():
        online = tokenizer.encode(torch.stack([pixels(videos[name]) for name in batch["id"]]))
        torch.testing.assert_close(batch["latents"], online, rtol=1e-5, atol=1e-5)
    cache.check_made_by(SimpleNamespace(tokenizer=tokenizer))


def test_a_run_from_the_cache_has_the_losses_of_one_that_encodes(tmp_path):
    tokenizer = PatchTokenizer()
    losses = []
    for source in (shapes(), cached(tmp_path, shapes(), tokenizer)):
        torch.manual_seed(0)
        layer = torch.nn.Linear(8, 8)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2)
        losses.append([])
        for clip in loader(source).train_dataloader():
            z = clip["latents"] if "latents" in clip else tokenizer.encode(pixels(clip["video"]))
            loss = (layer(z) - z.roll(1, dims=1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == losses[1]


def test_held_out_clips_are_the_same_as_without_a_cache_and_keep_their_video(tmp_path):
    cache = cached(tmp_path, shapes(), val_clips=6)
    for name in ("val_dataloader", "test_dataloader"):
        online, read = list(getattr(loader(shapes()), name)()), list(getattr(loader(cache), name)())
        assert [batch["id"] for batch in read] == [batch["id"] for batch in online]
        for a, b in zip(read, online, strict=True):
            assert torch.equal(a["video"], b["video"])
            assert torch.equal(a["latents"], PatchTokenizer().encode(pixels(b["video"])))


def test_stored_in_half_the_bits(tmp_path):
    whole, half = shapes().split("train"), cached(tmp_path, shapes(), dtype="bfloat16").split("train")
    latents = PatchTokenizer().encode(pixels(whole[3]["video"])[None])[0]
    assert half[3]["latents"].dtype == torch.float32
    assert torch.equal(half[3]["latents"], latents.bfloat16().float())


def test_features_of_texts_are_filled_up_to_one_length(tmp_path):
    encoder = LetterEncoder()
    cache = cached(tmp_path, shapes(), text_encoder=encoder)
    (batch,) = loader(cache, num_batches=1, batch_size=30).train_dataloader()
    made = encoder(batch["text"])
    length = made.mask.shape[1]
    assert torch.equal(batch["text_tokens"][:, :length], made.tokens)
    assert torch.equal(batch["text_mask"][:, :length], made.mask)
    assert not batch["text_mask"][:, length:].any()
    assert torch.equal(batch["text_pooled"], made.pooled)
    no_text = cache.no_text()
    assert no_text.tokens.shape[1:] == batch["text_tokens"].shape[1:]
    assert torch.equal(no_text.tokens[:, :1], encoder([""]).tokens)
    assert no_text.mask.sum() == 1
    cache.check_made_by(SimpleNamespace(tokenizer=PatchTokenizer(), text_encoder=encoder))


def test_no_features_without_a_frozen_encoder(tmp_path):
    encoder = LetterEncoder(frozen=False)
    cache = cached(tmp_path, shapes(), text_encoder=encoder)
    assert "text_tokens" not in cache.split("train")[0]
    assert cache.no_text() is None
    torch.nn.init.zeros_(encoder.table)  # it trains; that makes no latents wrong
    cache.check_made_by(SimpleNamespace(tokenizer=PatchTokenizer(), text_encoder=encoder))


@pytest.mark.parametrize(
    ("tokenizer", "encoder", "named"),
    [
        (PatchTokenizer(seed=1), LetterEncoder(), "tokenizer weights"),
        (PatchTokenizer(gain=0.5), LetterEncoder(), r"tokenizer.gain \(1.0 there, 0.5 here\)"),
        (PatchTokenizer(), LetterEncoder(seed=1), "text encoder weights"),
    ],
)
def test_a_model_with_other_parts_is_refused_by_name(tmp_path, tokenizer, encoder, named):
    cache = cached(tmp_path, shapes(), text_encoder=LetterEncoder(), train_clips=2, val_clips=1)
    with pytest.raises(SourceError, match=named):
        cache.check_made_by(SimpleNamespace(tokenizer=tokenizer, text_encoder=encoder))


def test_a_model_may_encode_texts_that_are_not_cached(tmp_path):
    cache = cached(tmp_path, shapes(), train_clips=2, val_clips=1)
    cache.check_made_by(SimpleNamespace(tokenizer=PatchTokenizer(), text_encoder=LetterEncoder()))
    with pytest.raises(SourceError, match="tokenizer weights"):
        cache.check_made_by(SimpleNamespace(tokenizer=PatchTokenizer(seed=1), text_encoder=LetterEncoder()))


def test_features_of_a_frozen_encoder_are_refused_to_one_that_trains(tmp_path):
    cache = cached(tmp_path, shapes(), text_encoder=LetterEncoder(), train_clips=2, val_clips=1)
    trained = SimpleNamespace(tokenizer=PatchTokenizer(), text_encoder=LetterEncoder(frozen=False))
    with pytest.raises(SourceError, match=r"text encoder \(\S+LetterEncoder there, None here\)"):
        cache.check_made_by(trained)


def test_clips_in_buckets_stay_in_buckets(tmp_path, films):
    cache = cached(tmp_path / "cache", bucketed(films), train_clips=None)
    clips, originals = cache.split("train"), bucketed(films).split("train")
    for i in range(len(clips)):
        frames, height, width = originals.bucket_of(i)
        assert clips.bucket_of(i) == (1 + (frames - 1) // 4, height // 4, width // 4)
        assert clips[i]["id"] == originals[i]["id"]
    grids = [batch["latents"].shape for batch in loader(cache, budget="pixels").train_dataloader()]
    assert len(set(grids)) == 3
    for batch in loader(cache).val_dataloader():
        assert batch["latents"].shape[1] == 1 + (batch["video"].shape[1] - 1) // 4


def test_a_folder_that_grows_and_changes(tmp_path, films):
    source = {"num_frames": 9, "height": 32, "width": 32, "fps": 10}
    cache = cached(tmp_path / "cache", Videos(root=str(films), **source), train_clips=None)
    before = {clip["id"] for clip in cache.split("train")}
    write_video(films / "train" / "d.mp4", 11)
    (films / "train" / "c.mp4").unlink()
    (films / "train" / "a.txt").write_text("another caption")
    now = Videos(root=str(films), **source)
    cache = LatentCache(root=str(tmp_path / "cache"), source=now)
    with pytest.raises(SourceError, match="lacks 7 of 19 train clips, new or changed ones; run the stage"):
        cache.split("train")
    cache = cached(tmp_path / "cache", now, train_clips=None)
    clips = {clip["id"]: clip["text"] for clip in cache.split("train")}
    assert clips.keys() - before == {f"train/d.mp4@{i / 10:.3f}s" for i in range(3)}
    assert {text for name, text in clips.items() if name.startswith("train/a")} == {"another caption"}
    assert not any(name.startswith("train/c") for name in clips)


def test_moved_films_need_no_new_cache(tmp_path, films):
    source = {"num_frames": 9, "height": 32, "width": 32, "fps": 10}
    cached(tmp_path / "cache", Videos(root=str(films), **source), train_clips=None)
    films.rename(tmp_path / "elsewhere")
    moved = Videos(root=str(tmp_path / "elsewhere"), **source)
    assert len(LatentCache(root=str(tmp_path / "cache"), source=moved).split("train")) == 4 + 12 + 4


def test_cameras_and_actions_are_kept(tmp_path):
    class Posed(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return {
                "video": torch.zeros(5, 3, 8, 8, dtype=torch.uint8),
                "actions": torch.full((4, 2), float(index)),
                "camera": {"poses": torch.full((5, 4, 4), float(index)), "intrinsics": torch.ones(5, 3, 3)},
                "id": f"clip {index}",
            }

    source = SimpleNamespace(spec=lambda: shapes().spec(), split=lambda name: Posed())
    clip = cached(tmp_path, source).split("train")[2]
    assert torch.equal(clip["camera"]["poses"], torch.full((5, 4, 4), 2.0))
    assert torch.equal(clip["actions"], torch.full((4, 2), 2.0))
    assert clip["camera"].keys() == {"poses", "intrinsics"}


def test_a_copy_for_a_worker_reads_the_same(tmp_path):
    clips = cached(tmp_path, shapes()).split("train")
    first = clips[0]["latents"]
    assert torch.equal(pickle.loads(pickle.dumps(clips))[0]["latents"], first)


def test_a_damaged_or_missing_shard_is_named(tmp_path):
    cached(tmp_path, shapes())
    for path in tmp_path.glob("shards/*"):
        path.write_bytes(path.read_bytes()[:-50])
    cache = LatentCache(root=str(tmp_path), source=shapes())
    with pytest.raises(
        SourceError, match=r"shards/\w+\.safetensors: is damaged; remove it and run the stage"
    ):
        cache.split("train")[0]
    for path in tmp_path.glob("shards/*"):
        path.unlink()
    with pytest.raises(SourceError, match=r"safetensors: is missing"):
        LatentCache(root=str(tmp_path), source=shapes()).split("train")[0]


def test_a_folder_without_a_cache(tmp_path):
    with pytest.raises(SourceError, match="no cache of latents there; run the stage that makes it"):
        LatentCache(root=str(tmp_path), source=shapes()).split("train")
