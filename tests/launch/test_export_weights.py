"""export_weights.py: a trained transformer as diffusers loads it, and a training that starts from that."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from checkpoints.own import export
from launch.export_weights import main
from launch.main import main as train
from recipes.stage import Stage
from tests.recipes.conftest import built


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An exported model with additions that add something; nothing was trained."""
    pytest.importorskip("peft")
    model, _ = built("framepack", "model.finetuning=lora", "model.finetuning.rank=2")
    torch.manual_seed(1)
    for weight in model.backbone.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.1)
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("run") / "model")


def test_the_whole_transformer(run, tmp_path, capsys):
    assert main([f"ckpt={run}", f"to={tmp_path}"]) == 0
    said = capsys.readouterr().out
    name = json.loads((tmp_path / "config.json").read_text())["_class_name"]
    assert f"diffusers.{name}.from_pretrained('{tmp_path}')" in said
    weights = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert f"{sum(weight.numel() for weight in weights.values()):,} parameters" in said
    model = Stage.load(run)
    torch.testing.assert_close(weights, dict(model.finetuning.merged(model.backbone)))
    diffusers = pytest.importorskip("diffusers")
    _, info = getattr(diffusers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] + info["unexpected_keys"] + info["mismatched_keys"]


def test_the_additions_alone(run, tmp_path, capsys):
    assert main([f"ckpt={run}", f"to={tmp_path}", "format=lora"]) == 0
    additions = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    assert all(name.startswith("transformer.") and ".lora_" in name for name in additions)
    in_full = load_file(tmp_path / "trained_in_full.safetensors")
    assert {name.split(".")[0] for name in in_full} == {"clean_x_embedder"}
    assert f"{len(additions)} tensors" in capsys.readouterr().out


def test_a_training_starts_from_what_was_exported(run, tmp_path, capsys):
    public = tmp_path / "public"
    assert main([f"ckpt={run}", f"to={public}"]) == 0
    tokens = ["recipe=framepack", "stage=model", "cache=null", f"weights={public}", "trainer.max_steps=1"]
    few = ["loader.batch_size=1", "loader.val_clips=1", "trainer.val_check_interval=1", "optimizer.lr=0.0"]
    quiet = ["~callbacks.rollouts", "~callbacks.throughput"]
    assert train([*tokens, *few, *quiet, f"run_dir={tmp_path / 'run'}"]) == 0
    assert f"backbone from {public}" in capsys.readouterr().out
    begun = load_file(tmp_path / "run" / "model" / "model" / "model.safetensors")
    for name, tensor in load_file(public / "diffusion_pytorch_model.safetensors").items():
        assert torch.equal(begun[f"backbone.{name}"], tensor), name


@pytest.mark.parametrize(
    ("recipe", "tokens", "told"),
    [
        ("svg", [], "a SVG has no video transformer to export"),
        ("framepack", ["format=lora"], "trained with full, there are no additions; format=model"),
        (
            "framepack",
            ["model.backbone.rope_pool=angle"],
            "rope_pool is angle; diffusers' classes know phasor",
        ),
    ],
)
def test_what_cannot_be_exported_is_told(recipe, tokens, told, tmp_path, capsys):
    changes = [token for token in tokens if token.startswith("model.")]
    model, _ = built(recipe, *changes)
    folder = export(model, dict(model.hparams), tmp_path / "model")
    options = [token for token in tokens if token not in changes]
    assert main([f"ckpt={folder}", f"to={tmp_path / 'to'}", *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_mistakes_of_the_command_line(tmp_path, capsys):
    assert main([f"ckpt={tmp_path / 'nowhere'}", "to=x"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["chpt=x"]) == 2
    assert "did you mean ckpt?" in capsys.readouterr().err
