"""HunyuanVideo and FramePack against diffusers' classes, and against themselves."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from components.backbones.denoiser import Condition, Segment, VideoDenoiser
from components.backbones.hunyuan_video import HunyuanVideo
from components.memories.packed import Packed
from launch.presets import kinds

CHANNELS, HEIGHT, WIDTH = 16, 12, 20
INVERTED = Packed(structure="f1k1_x_g9_f1k1f2k2f16k4_td")
TINY = {"num_layers": 2, "num_single_layers": 2, "num_refiner_layers": 1}
OURS = {
    "latent_channels": CHANNELS,
    "num_heads": 2,
    "head_dim": 16,
    "text_dim": 16,
    "pooled_dim": 8,
    "image_dim": 12,
    "guidance": True,
    "rope_axes": (4, 6, 6),
    **TINY,
}
THEIRS = {
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "text_embed_dim": 16,
    "pooled_projection_dim": 8,
    "rope_axes_dim": (4, 6, 6),
    **TINY,
}


def backbone(*, dtype: torch.dtype = torch.float64, **options: Any) -> HunyuanVideo:
    torch.manual_seed(0)
    model = HunyuanVideo(**(OURS | options)).to(dtype)
    for parameter in model.parameters():  # far from first weights, whose output is zero
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1) / 2, std=0.1)
    return model


def framepack(**options: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    added = {"has_image_proj": True, "image_proj_dim": 12, "has_clean_x_embedder": True}
    return diffusers.HunyuanVideoFramepackTransformer3DModel(**(THEIRS | added | options))


def called(
    theirs: Any,
    x: Tensor,
    sigma: Tensor,
    *,
    indices: Tensor,
    context: Sequence[Segment] = (),
    condition: Condition,
) -> Tensor:
    """diffusers' FramePack or HunyuanVideo with a VideoDenoiser's arguments; samples have the same times."""
    names = {1: "clean", 2: "history_2x", 4: "history_4x"}
    packed: dict[str, Tensor] = {}
    for segment in context:
        packed[f"latents_{names[segment.kernel]}"] = segment.latents.transpose(1, 2)
        packed[f"indices_latents_{names[segment.kernel]}"] = segment.indices[0]
    if context:
        packed |= {"image_embeds": condition.image, "indices_latents": indices[0]}
    return theirs(
        hidden_states=x.transpose(1, 2),
        timestep=1000 * sigma,
        encoder_hidden_states=condition.tokens,
        encoder_attention_mask=condition.mask,
        pooled_projections=condition.pooled,
        guidance=None if condition.guidance is None else 1000 * condition.guidance,
        **packed,
    ).sample.transpose(1, 2)


def latents(frames: int, batch: int, dtype: torch.dtype, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, CHANNELS, HEIGHT, WIDTH, generator=generator, dtype=dtype)


def example(
    batch: int, dtype: torch.dtype = torch.float64, *, gap: int = 27, image: bool = True
) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """A section of the released structure and all that it is made from; texts of 7, 4, ... tokens."""
    context = INVERTED(latents(1, batch, dtype, 2), latents(19, batch, dtype, 3), gap=gap)
    draw = torch.Generator().manual_seed(4)
    condition = Condition(
        tokens=torch.randn(batch, 9, 16, generator=draw, dtype=dtype),
        mask=torch.arange(9) < 7 - 3 * torch.arange(batch)[:, None],
        pooled=torch.randn(batch, 8, generator=draw, dtype=dtype),
        image=torch.randn(batch, 5, 12, generator=draw, dtype=dtype) if image else None,
        guidance=torch.full((batch,), 10.0, dtype=dtype),
    )
    sigma = torch.rand(batch, generator=draw)
    rest = {"indices": context.indices, "context": context.segments, "condition": condition}
    return (latents(9, batch, dtype), sigma), rest


def assert_same_gradients(ours: nn.Module, theirs: nn.Module, made: Tensor, wanted: Tensor) -> None:
    slope = torch.randn(made.shape, generator=torch.Generator().manual_seed(5))
    (made * slope).sum().backward()
    (wanted * slope).sum().backward()
    for name, parameter in theirs.named_parameters():
        grad = ours.get_parameter(name).grad
        assert (grad - parameter.grad).abs().max() < 1e-5 * parameter.grad.abs().max().clamp(min=1), name


@pytest.mark.parametrize("batch", [1, 2])
def test_framepack_is_that_of_diffusers(batch: int) -> None:
    theirs = framepack()
    ours = backbone(dtype=torch.float32)
    ours.load_state_dict(theirs.state_dict())
    inputs, rest = example(batch, torch.float32)
    made, wanted = ours(*inputs, **rest), called(theirs, *inputs, **rest)
    assert (made - wanted).abs().max() < 1e-5
    assert_same_gradients(ours, theirs, made, wanted)


@pytest.mark.parametrize("batch", [1, 2])
def test_hunyuan_video_is_that_of_diffusers(batch: int) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    theirs = diffusers.HunyuanVideoTransformer3DModel(**THEIRS)
    ours = backbone(dtype=torch.float32)
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing} == {"clean_x_embedder", "image_projection"}
    assert not unexpected
    inputs, rest = example(batch, torch.float32, image=False)
    rest |= {"indices": torch.arange(9).expand(batch, -1), "context": ()}
    made, wanted = ours(*inputs, **rest), called(theirs, *inputs, **rest)
    assert (made - wanted).abs().max() < 1e-5
    assert_same_gradients(ours, theirs, made, wanted)


def test_a_clean_first_frame_is_that_of_the_image_to_video_model() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    options = THEIRS | {"image_condition_type": "token_replace", "guidance_embeds": False}
    theirs = diffusers.HunyuanVideoTransformer3DModel(**options)
    ours = backbone(dtype=torch.float32, guidance=False, image_dim=0, context_kernels=())
    ours.load_state_dict(theirs.state_dict())
    (x, sigma), rest = example(2, torch.float32, image=False)
    condition = rest["condition"]._replace(guidance=None)
    rest = {"indices": torch.arange(9).expand(2, -1), "condition": condition}
    levels = torch.cat([torch.zeros(2, 1), sigma[:, None].expand(-1, 8)], dim=1)
    made, wanted = ours(x, levels, **rest), called(theirs, x, sigma, **rest)
    assert (made - wanted)[:, 1:].abs().max() < 1e-5  # the velocity of the clean frame is not used


def test_the_published_sizes() -> None:
    options = {"num_heads": 24, "head_dim": 128, "num_layers": 20, "num_single_layers": 40}
    inputs = {"latent_channels": 16, "text_dim": 4096, "pooled_dim": 768, "guidance": True}
    rope = {"rope_axes": (16, 56, 56), "num_refiner_layers": 2}
    with torch.device("meta"):
        model = HunyuanVideo(**options, **inputs, **rope, image_dim=1152)
        base = HunyuanVideo(**options, **inputs, **rope, context_kernels=())
    count = {name: sum(x.numel() for x in part.parameters()) for name, part in model.named_children()}
    assert round(sum(count.values()) / 1e9, 3) == 12.874
    assert round(sum(x.numel() for x in base.parameters()) / 1e9, 3) == 12.821
    assert round(count["clean_x_embedder"] / 1e6, 2) == 14.36
    assert round(count["image_projection"] / 1e6, 2) == 38.94
    assert isinstance(model, VideoDenoiser)
    in_blocks = sum(x.numel() for block in model.blocks() for x in block.parameters())
    assert in_blocks > 0.98 * sum(count.values())


def test_first_velocity_is_zero_and_context_begins_as_averages() -> None:
    torch.manual_seed(0)
    model = HunyuanVideo(**OURS)
    inputs, rest = example(1, torch.float32)
    assert not model(*inputs, **rest).any()
    context = model.clean_x_embedder
    assert torch.equal(context.proj.weight, model.x_embedder.proj.weight)
    assert torch.equal(
        context.proj_2x.weight[:, :, 1, 2:, 2:],
        model.x_embedder.proj.weight[:, :, 0, 1:, 1:].expand(-1, -1, 2, 2) / 8,
    )
    assert model.patch_layers() == [context, model.image_projection]


def test_presets_are_backbones() -> None:
    nodes = kinds()["components.backbones"].nodes
    told = {"latent_channels": 16, "text_dim": 4096, "pooled_dim": 768}
    sizes = {}
    for name in ("hunyuan_video", "framepack_13b"):
        options = {key: value for key, value in nodes[name].items() if key != "_component_"}
        options |= {key: tuple(value) for key, value in options.items() if isinstance(value, list)}
        with torch.device("meta"):
            sizes[name] = sum(x.numel() for x in HunyuanVideo(**options, **told).parameters())
    assert sizes["hunyuan_video"] < 5e6
    assert round(sizes["framepack_13b"] / 1e9, 3) == 12.874


def test_a_step_can_be_counted_without_values() -> None:
    """Fake tensors, from which dry=true counts a step, have no values to look at."""
    with FakeTensorMode():
        model = HunyuanVideo(**OURS, history_timestep="zero", checkpoint=True)
        (x, sigma), rest = example(2, torch.float32)
        condition = rest["condition"]._replace(mask=None)
        levels = sigma[:, None].expand(-1, 9)
        model(x, levels, **(rest | {"condition": condition})).sum().backward()
