"""Backbones with public weights compute what diffusers computes, and diffusers with ours what we do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from checkpoints.diffusers_transformers import IN_FULL, LORA, fill, save, save_additions
from checkpoints.own import CheckpointError, export, find_weights, public_transformer, read_weights
from checkpoints.starting_weights import start_from
from components.finetuning.full import Full
from components.finetuning.lora import Lora
from tests.components.test_hunyuan_video import THEIRS, backbone, called, example, framepack
from tests.components.test_wan import BARE, SIGMA, X, frames, text, tiny

diffusers = pytest.importorskip("diffusers")
SINGLE = {"torch_dtype": torch.float32}


def ours(**options: Any) -> nn.Module:
    return backbone(dtype=torch.float32, **options).eval()


def lora(**options: Any) -> Lora:
    pytest.importorskip("peft")
    targets = ["to_q", "to_v", "to_out.0", "ff.net.0.proj", "proj_mlp"]
    return Lora(**{"rank": 3, "alpha": 6.0, "targets": targets} | options)


def adapted(finetuning: Lora, model: nn.Module) -> nn.Module:
    """As after a training: additions that add something, patch layers that have moved."""
    finetuning.prepare(model)
    torch.manual_seed(2)
    for weight in model.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.1)
    return model


@torch.no_grad()
def distance(model: nn.Module, theirs: nn.Module, *, packed: bool = True) -> float:
    inputs, rest = example(2, torch.float32, image=packed)
    if not packed:
        rest |= {"indices": torch.arange(9).expand(2, -1), "context": ()}
    return float((model(*inputs, **rest) - called(theirs, *inputs, **rest)).abs().max())


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Path:
    """FramePack in several files with an index, as large models are, in the folder of a pipeline."""
    folder = tmp_path_factory.mktemp("framepack")
    framepack().save_pretrained(folder / "transformer", max_shard_size="100KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 2
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hunyuan_video")
    torch.manual_seed(1)
    diffusers.HunyuanVideoTransformer3DModel(**THEIRS).save_pretrained(folder)
    return folder


def test_framepack_comes_in_whole(public):
    model = ours()
    filled = fill(folder=public_transformer(public), backbone=model)
    assert filled == (len(model.state_dict()), [])
    assert distance(model, framepack()) < 1e-5


@pytest.mark.parametrize("finetuning", [Full(), None])
def test_a_base_without_context_gives_averages_of_its_own_patch_layer(base, finetuning):
    model = ours(context_kernels=(1, 2, 4, 8))
    (finetuning or lora()).prepare(model)
    filled = fill(folder=base, backbone=model)
    layers = [f"clean_x_embedder.proj{end}" for end in ("", "_2x", "_4x", "_8x")]
    assert filled.fresh == [*layers, "image_projection.down", "image_projection.up"]
    theirs = diffusers.HunyuanVideoTransformer3DModel.from_pretrained(base)
    assert distance(model, theirs, packed=False) < 1e-5
    for kernel in (1, 2, 4, 8):
        layer = model.get_submodule(layers[kernel.bit_length() - 1])
        weight, own = theirs.x_embedder.proj.weight, layer.weight
        torch.testing.assert_close(own[..., ::kernel, ::kernel, ::kernel], weight / kernel**3)
        torch.testing.assert_close(own.sum((2, 3, 4)), weight.sum((2, 3, 4)))


def test_only_the_kernels_that_a_base_lacks_begin_anew(public):
    model = ours(context_kernels=(1, 2, 4, 8))
    assert fill(folder=public / "transformer", backbone=model).fresh == ["clean_x_embedder.proj_8x"]
    assert distance(model, framepack()) < 1e-5


def test_low_rank_additions_do_not_hide_the_base(public):
    model = ours()
    lora().prepare(model)
    assert fill(folder=public / "transformer", backbone=model).fresh == []
    assert distance(model, framepack()) < 1e-5


@pytest.mark.parametrize("options", [{}, {"context_kernels": (), "image_dim": 0}, {"guidance": False}])
def test_diffusers_loads_what_is_saved(options, tmp_path):
    model = ours(**options)
    save(backbone=model, weights=Full().merged(model), folder=tmp_path)
    name = json.loads((tmp_path / "config.json").read_text())["_class_name"]
    theirs, info = getattr(diffusers, name).from_pretrained(tmp_path, output_loading_info=True, **SINGLE)
    assert not info["missing_keys"] + info["unexpected_keys"] + info["mismatched_keys"]
    packed = "context_kernels" not in options
    if "guidance" not in options:
        assert distance(model, theirs, packed=packed) < 1e-5
    again = ours(**options)
    nn.init.zeros_(again.proj_out.weight)
    assert fill(folder=tmp_path, backbone=again).fresh == []
    assert torch.equal(again.proj_out.weight, model.proj_out.weight)


@pytest.mark.parametrize("image_dim", [0, 6])
@torch.no_grad()
def test_wan_goes_both_ways(image_dim, tmp_path):
    model = tiny(**BARE, image_dim=image_dim)
    save(backbone=model, weights=model.state_dict(), folder=tmp_path)
    theirs, info = diffusers.WanTransformer3DModel.from_pretrained(
        tmp_path, output_loading_info=True, **SINGLE
    )
    assert not info["missing_keys"] + info["unexpected_keys"] + info["mismatched_keys"]
    if not image_dim:
        expected = theirs(X.transpose(1, 2), 1000 * SIGMA, text().tokens).sample.transpose(1, 2)
        out = model(X, SIGMA, indices=frames(0, X.shape[1]), condition=text())
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    again = tiny(image_dim=image_dim)  # with a context
    for weight in again.parameters():
        nn.init.zeros_(weight)
    fresh = fill(folder=tmp_path, backbone=again).fresh
    assert {name.split(".")[0] for name in fresh} == {"clean_x_embedder"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    torch.testing.assert_close(again.clean_x_embedder.proj.weight, model.patch_embedding.weight)


def test_merged_additions_are_the_model(tmp_path):
    finetuning = lora()
    model = adapted(finetuning, ours())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(backbone=model, weights=finetuning.merged(model), folder=tmp_path)
    theirs = diffusers.HunyuanVideoFramepackTransformer3DModel.from_pretrained(tmp_path, **SINGLE)
    assert distance(model, theirs) < 1e-5
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_diffusers_adds_the_additions_alone(public, tmp_path):
    finetuning, model = lora(), ours()
    finetuning.prepare(model)
    fill(folder=public / "transformer", backbone=model)
    torch.manual_seed(2)
    for weight in model.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.1)
    files = save_additions(finetuning=finetuning, backbone=model, folder=tmp_path)
    assert files[tmp_path / LORA] == 2 * finetuning.matched
    theirs = framepack()
    assert distance(model, theirs) > 0.01
    theirs.load_lora_adapter(tmp_path / LORA, prefix="transformer")
    missing, unexpected = theirs.load_state_dict(load_file(tmp_path / IN_FULL), strict=False)
    assert not unexpected
    assert not any(name.startswith(("clean_x_embedder", "image_projection")) for name in missing)
    assert distance(model, theirs) < 1e-5


class Maker(nn.Module):
    """A stage's parts, as far as weights are concerned."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.tokenizer = model, nn.Linear(2, 2)


def test_a_training_starts_from_a_public_folder(public):
    assert find_weights(public) == public
    model = ours()
    (told,) = start_from(Maker(model), public)
    assert f"backbone from {public / 'transformer'}: {len(model.state_dict())} tensors" in told
    assert distance(model, framepack()) < 1e-5
    with pytest.raises(CheckpointError, match="Linear has no backbone"):
        start_from(nn.Linear(1, 1), public)
    with pytest.raises(CheckpointError, match="a training starts from them with weights="):
        read_weights(public)


def test_a_training_with_additions_starts_from_a_run_without(tmp_path):
    whole = Maker(ours())
    export(whole, {}, tmp_path)
    model = Maker(ours())
    lora().prepare(model.backbone)
    additions = {name: x.clone() for name, x in model.state_dict().items() if ".lora_" in name}
    for name, weight in model.named_parameters():
        if ".lora_" not in name:
            nn.init.zeros_(weight)
    assert start_from(model, tmp_path) == []
    merged = Lora(targets=[]).merged(model.backbone)
    assert all(torch.equal(tensor, merged[name]) for name, tensor in whole.backbone.state_dict().items())
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in additions.items())
    del whole.backbone
    export(whole, {}, tmp_path)  # of a tokenizer's stage
    assert "not of backbone" in start_from(model, tmp_path)[0]


def changed(folder: Path, tmp_path: Path, *, weights: dict[str, Tensor | None], **config: Any) -> Path:
    """A copy in one file with other tensors, None = none, and another configuration."""
    theirs = diffusers.HunyuanVideoFramepackTransformer3DModel.from_pretrained(folder)
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file) | weights
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | config))
    return tmp_path


@pytest.mark.parametrize(
    ("weights", "config", "told"),
    [
        ({"proj_out.bias": None}, {}, "lacks the tensor proj_out.bias"),
        ({"another.bias": torch.zeros(1)}, {}, "another.bias has no place in the backbone"),
        ({"clean_x_embedder.proj_8x.bias": torch.zeros(1)}, {}, "set its context_kernels"),
        ({"proj_out.bias": torch.zeros(1)}, {}, r"proj_out.bias is \(1,\), where the backbone has \(64,\)"),
        ({}, {"rope_theta": 1e4, "num_layers": 3}, "num_layers is 3, the backbone's 2; rope_theta is 1"),
        ({}, {"_class_name": "WanTransformer3DModel"}, "of a WanTransformer3DModel, the backbone is a"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(public, tmp_path, weights, config, told):
    folder = changed(public / "transformer", tmp_path, weights=weights, **config)
    with pytest.raises(CheckpointError, match=told) as caught:
        fill(folder=folder, backbone=ours())
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_or_missing_is_told(public, tmp_path):
    folder = changed(public / "transformer", tmp_path, weights={})
    file = folder / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="perhaps cut short"):
        fill(folder=folder, backbone=ours())
    file.unlink()
    (folder / f"{file.name}.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"gone.safetensors: no such file"):
        fill(folder=folder, backbone=ours())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: ours(rope_pool="angle"), "rope_pool is angle"),
        (lambda: ours(history_timestep="zero"), "history_timestep is zero"),
        (lambda: ours(context_kernels=(1, 2)), r"context_kernels is \[1, 2\]"),
        (lambda: ours(pooled_dim=0), "pooled_dim is 0"),
        (tiny, r"context_kernels is \[1, 2, 4\]"),
    ],
)
def test_what_diffusers_would_compute_otherwise_is_not_saved(model, told, tmp_path):
    with pytest.raises(CheckpointError, match=told):
        save(backbone=model(), weights={}, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
