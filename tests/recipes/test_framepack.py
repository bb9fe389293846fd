"""FramePack from the command line: public weights in, low-rank training on own videos, public weights out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints.diffusers_configs import settings
from components.backbones.denoiser import Condition, Segment
from launch import export_weights
from launch.main import main
from recipes.stage import Stage
from tests.components.test_hunyuan_video import called
from tests.media import write_video
from tests.recipes.conftest import begun, built, take_step

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "model.backbone.num_heads=2", "model.backbone.head_dim=16", "model.backbone.rope_axes=[4,6,6]",
    "model.backbone.num_layers=1", "model.backbone.num_single_layers=1", "text_encoder.dim=16",
    "tokenizer.widths=[8,16]",
]  # fmt: skip
WHOLE = ["model.backbone.guidance=true", "model.distilled_guidance=10.0"]
TARGETS = "model.finetuning.targets=[to_q,to_v,proj_mlp]"


@pytest.fixture(scope="module")
def image_encoder(tmp_path_factory) -> list[str]:
    """The options that name a tiny SigLIP."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SiglipVisionConfig(**sizes, image_size=16, patch_size=8)
    folder = tmp_path_factory.mktemp("siglip")
    transformers.SiglipVisionModel(config).save_pretrained(folder / "image_encoder")
    named = ["path=" + str(folder), "dim=12", "precision=float32"]
    return ["image_encoder=siglip", *(f"image_encoder.{option}" for option in named)]


@pytest.fixture(scope="module")
def public(tmp_path_factory, image_encoder) -> Path:
    """A checkpoint in FramePack's public layout, in several files with an index."""
    diffusers = pytest.importorskip("diffusers")
    config = settings(built("framepack", *SMALL, *WHOLE, *image_encoder)[0].backbone)
    torch.manual_seed(1)
    model = getattr(diffusers, config["_class_name"]).from_config(config)
    folder = tmp_path_factory.mktemp("public")
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(3):
        write_video(folder / f"{i}.mp4", num_frames=40)
        (folder / f"{i}.txt").write_text(f"numbers {i}")
    return folder


def section() -> dict[str, Any]:
    """What a backbone is called with: a section, its packed history, a condition."""
    draw = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    segments = [(16, 4, 1), (2, 2, 17), (2, 1, 0)]
    context = [
        Segment(normal(1, frames, 8, 8, 8), (first + torch.arange(frames))[None], kernel)
        for frames, kernel, first in segments
    ]
    condition = Condition(
        normal(1, 5, 16),
        torch.ones(1, 5, dtype=torch.bool),
        normal(1, 16),
        normal(1, 4, 12),
        torch.tensor([10.0]),
    )
    return dict(
        x=normal(1, 2, 8, 8, 8), sigma=torch.tensor([0.7]), indices=torch.tensor([[19, 20]]),
        context=context, condition=condition,
    )  # fmt: skip


def test_public_weights_are_fine_tuned_on_videos_and_made_public(
    public, image_encoder, videos, tmp_path, monkeypatch, capsys
):
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    tokens = [
        *begun("framepack"), *SMALL, *WHOLE, *image_encoder, f"weights={public}", "run_dir=run",
        "data=videos", f"data.root={videos}", "stages.tokenizer.clip.num_frames=9",
        "model.finetuning=lora", "model.finetuning.rank=2", TARGETS, "optimizer.lr=0.05",
        "~callbacks.rollouts", "~callbacks.throughput",
    ]  # fmt: skip
    assert main(tokens) == 0
    said = capsys.readouterr().out
    assert f"backbone from {public}" in said
    assert export_weights.main(["ckpt=run", "to=out"]) == 0
    assert "from_pretrained" in capsys.readouterr().out

    trained = Stage.load(Path("run"))
    assert trained.finetuning.matched > 0
    config = settings(trained.backbone)
    kind = getattr(diffusers, config["_class_name"])
    before, after = (kind.from_pretrained(folder).eval() for folder in (public, "out"))
    with torch.no_grad():
        ours, theirs, base = (
            trained.backbone(**section()),
            called(after, **section()),
            called(before, **section()),
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert (ours - base).abs().max() > 1e-3  # it has learned something
    moved = dict(after.named_parameters())
    assert torch.equal(moved["proj_out.weight"], dict(before.named_parameters())["proj_out.weight"])
    key = "clean_x_embedder.proj_4x.weight"
    assert not torch.equal(moved[key], dict(before.named_parameters())[key])  # patch layers train in full


def test_two_processes_with_shares_of_the_weights_equal_one(tmp_path, monkeypatch):
    """After five whole steps of AdamW with clipped gradients on the same global batches of four clips."""
    monkeypatch.chdir(tmp_path)
    tokens = [
        "recipe=framepack", "stage=model", "stages.model.cache=null", *SMALL, "loader.val_clips=4",
        "trainer.max_steps=5", "trainer.accelerator=cpu", "~callbacks.rollouts", "~callbacks.throughput",
    ]  # fmt: skip
    shared = ["trainer.devices=2", "trainer.strategy=fsdp", "loader.batch_size=2", "run_dir=two"]
    two = subprocess.Popen(
        [sys.executable, ROOT / "train.py", *tokens, *shared],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert main([*tokens, "loader.batch_size=4", "run_dir=one"]) == 0
        said, _ = two.communicate(timeout=300)
        assert two.returncode == 0, said[-3000:]
    finally:
        two.kill()
    begin = built("framepack", *SMALL)[0].backbone.state_dict()
    one, other = (Stage.load(Path(run)).state_dict() for run in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=0, atol=2e-6, msg=name)
    moved = [float((one[f"backbone.{name}"] - weight).abs().max()) for name, weight in begin.items()]
    assert sum(distance > 1e-3 for distance in moved) > len(moved) // 2


MEMORIES = [
    ["model.memory=window"],
    ["model.memory=anchor"],
    ["model.memory=full", "model.memory.least=5"],
    ["model.memory=similarity"],
    ["model.memory.structure=tc_f1k2f1k1_g2"],
    ["model.memory.structure=ta_f1k1_g2"],
    ["variant=discretised"],
    *([f"variant={name}"] for name in ("vanilla", "endpoint", "multi_endpoint", "repeat", "causal")),
    *([f"variant={name}"] for name in ("diffusion_forcing", "history_guidance", "inverted+discretised")),
    ["feature_cache=tea_plain"],
    ["model.decoding=cross_fade"],
]


@pytest.mark.parametrize("words", MEMORIES, ids=lambda words: words[0].partition("=")[2])
def test_every_memory_trains_on_mixed_positions_and_goes_on_for_long(words):
    model, clip = built("framepack", *SMALL, *words)
    if model.history_codes is not None:
        model.history_codes.learn(model.latents(clip))
    for step in range(2):  # clips of a batch stand at different sections
        take_step(model, clip, step)
    context, _ = model.split(clip)
    generator = torch.Generator().manual_seed(0)
    future = model.eval().predict(context, 40, generator=generator)
    assert future.shape[1] == 40
    assert torch.isfinite(future).all()


def test_codes_of_the_history_are_fitted_in_a_stage_and_the_start_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ["stages.codebook.loader.batch_size=2", "history_codes.num_codes=5", "~callbacks.rollouts"]
    command = [*begun("framepack"), *SMALL, "variant=discretised", *few, f"run_dir={tmp_path / 'run'}"]
    assert main(command) == 0
    fitted, trained = (Stage.load(tmp_path / "run" / stage) for stage in ("codebook", "model"))
    assert torch.equal(fitted.history_codes.centres, trained.history_codes.centres)
    assert len(trained.history_codes.centres.unique(dim=0)) == 5
    z = torch.randn(1, 8, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    plan = list(trained.order.steps(3))[-1]
    segments = trained.context(z, [plan]).segments
    start, newest = segments[-1].latents[0]
    assert torch.equal(start, z[0, 0])
    among = newest.movedim(0, -1).flatten(0, 1)[:, None] == trained.history_codes.centres
    assert among.all(dim=2).any(dim=1).all()


@pytest.mark.parametrize(
    ("memory", "kept"),
    [(["model.memory.structure=f1k1_x_f4k2f1k1_g2"], 5), (["model.memory=full", "model.memory.least=5"], 40)],
    ids=["packed", "full"],
)
def test_a_video_of_any_length_holds_as_many_latents_as_its_memory_reaches(memory, kept):
    import gc
    import weakref

    model, clip = built("framepack", *SMALL, *memory, "model.sampler.num_steps=1")
    sections, sample, seen = [], model.sample, []

    def watched(known, *rest):
        made = sample(known, *rest)
        seen.append(1 + known.history.shape[1])
        sections.append(weakref.ref(made))
        return made

    model.sample = watched
    context, _ = model.split(clip)
    pieces = model.eval().rollout(context, 40 * 2 * 4, generator=torch.Generator().manual_seed(0))
    assert sum(piece.shape[1] for piece in pieces if gc.collect() >= 0) == 320
    future = model.rollout(context, 10**9, generator=torch.Generator().manual_seed(0))
    sections.clear()
    for _ in range(40):
        next(future)
        gc.collect()
        assert sum(section() is not None for section in sections) <= kept
    assert max(seen) == (6 if kept == 5 else 80)
