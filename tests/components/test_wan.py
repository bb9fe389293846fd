"""Wan's transformer: equal to diffusers' classes, true to indices, blind to what it must not see."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from checkpoints.build import build
from components.backbones.denoiser import Condition, Segment, VideoDenoiser
from components.backbones.wan import Wan
from launch.presets import kinds

B, L, C, H, W = 2, 3, 4, 6, 8
HEADS, HEAD_DIM, HIDDEN, LAYERS, TEXT = 2, 12, 32, 2, 16


def tiny(**changes: Any) -> Wan:
    torch.manual_seed(0)
    sizes: dict[str, Any] = dict(
        latent_channels=C,
        num_heads=HEADS,
        head_dim=HEAD_DIM,
        hidden_dim=HIDDEN,
        num_layers=LAYERS,
        text_dim=TEXT,
    )
    model = Wan(**sizes | changes)
    with torch.no_grad():
        nn.init.normal_(model.proj_out.weight)
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(length: int = 5, batch: int = B, real: list[int] | None = None) -> Condition:
    mask = None
    if real is not None:
        mask = torch.arange(length)[None] < torch.tensor(real)[:, None]
    return Condition(drawn(batch, length, TEXT, seed=2), mask)


def frames(first: int, count: int, batch: int = B) -> Tensor:
    return torch.arange(first, first + count).expand(batch, -1)


def history(batch: int = B, height: int = H, width: int = W) -> list[Segment]:
    """Nine frames before frame 9, in time order: six coarse, two, one."""
    z = drawn(batch, 9, C, height, width, seed=3)
    return [
        Segment(z[:, :6], frames(0, 6, batch), 4),
        Segment(z[:, 6:8], frames(6, 2, batch), 2),
        Segment(z[:, 8:], frames(8, 1, batch), 1),
    ]


SIGMA = torch.tensor([0.3, 0.9])
X = drawn(B, L, C, H, W)
BARE = {"context_kernels": ()}


def diffusers_wan(ours: Wan, **changes: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=C,
        out_channels=C,
        text_dim=TEXT,
        ffn_dim=HIDDEN,
        num_layers=LAYERS,
        rope_max_seq_len=32,
        **changes,
    )
    theirs.load_state_dict(ours.state_dict())  # strict: the names are the same
    return theirs.eval()


@torch.no_grad()
def test_text_to_video_equals_diffusers():
    ours = tiny(**BARE)
    theirs = diffusers_wan(ours)
    expected = theirs(X.transpose(1, 2), 1000 * SIGMA, text().tokens).sample.transpose(1, 2)
    out = ours(X, SIGMA, indices=frames(0, L), condition=text())
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert isinstance(ours, VideoDenoiser)
    assert out.std() > 0.1


@torch.no_grad()
def test_a_level_a_frame_equals_diffusers():
    ours = tiny(**BARE)
    sigma = torch.rand(B, L, generator=torch.Generator().manual_seed(4))
    tokens = (1000 * sigma).repeat_interleave(H * W // 4, dim=1)
    expected = diffusers_wan(ours)(X.transpose(1, 2), tokens, text().tokens).sample.transpose(1, 2)
    out = ours(X, sigma, indices=frames(0, L), condition=text())
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_image_to_video_equals_diffusers():
    """Where diffusers' processor cuts a row of tokens it takes the last 512 for the text's."""
    ours = tiny(**BARE, image_dim=6, text_length=512)
    theirs = diffusers_wan(ours, image_dim=6, added_kv_proj_dim=HEADS * HEAD_DIM)
    condition = text(real=[5, 2])._replace(image=drawn(B, 7, 6, seed=5))
    padded = torch.zeros(B, 512, TEXT)
    padded[0, :5], padded[1, :2] = condition.tokens[0], condition.tokens[1, :2]
    expected = theirs(X.transpose(1, 2), 1000 * SIGMA, padded, condition.image).sample.transpose(1, 2)
    out = ours(X, SIGMA, indices=frames(0, L), condition=condition)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    without = ours(X, SIGMA, indices=frames(0, L), condition=condition._replace(image=None))
    assert (without - out).abs().max() > 0.01


@pytest.mark.parametrize("timestep", ["zero", "shared"])
@torch.no_grad()
def test_packed_context_equals_helios(timestep: str):
    """Helios is a Wan with three patch layers for its history; sides that do not divide are padded."""
    diffusers = pytest.importorskip("diffusers")
    height, width = 6, 10
    ours = tiny(history_timestep=timestep)
    theirs = diffusers.HeliosTransformer3DModel(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_DIM,
        in_channels=C,
        out_channels=C,
        text_dim=TEXT,
        ffn_dim=HIDDEN,
        num_layers=LAYERS,
        rope_dim=(4, 4, 4),
        guidance_cross_attn=False,
        zero_history_timestep=timestep == "zero",
    )
    names = {
        "clean_x_embedder.proj.": "patch_short.",
        "clean_x_embedder.proj_2x.": "patch_mid.",
        "clean_x_embedder.proj_4x.": "patch_long.",
    }
    weights = {}
    for name, weight in ours.state_dict().items():
        for ending, theirs_name in names.items():
            name = name.replace(ending, theirs_name)
        weights["norm_out.scale_shift_table" if name == "scale_shift_table" else name] = weight
    theirs.load_state_dict(weights)
    x, (long, middle, short) = drawn(B, L, C, height, width), history(B, height, width)
    expected = theirs.eval()(
        x.transpose(1, 2),
        1000 * SIGMA,
        text().tokens,
        indices_hidden_states=frames(9, L),
        latents_history_short=short.latents.transpose(1, 2),
        latents_history_mid=middle.latents.transpose(1, 2),
        latents_history_long=long.latents.transpose(1, 2),
        indices_latents_history_short=short.indices,
        indices_latents_history_mid=middle.indices,
        indices_latents_history_long=long.indices,
    ).sample.transpose(1, 2)
    out = ours(x, SIGMA, indices=frames(9, L), context=[long, middle, short], condition=text())
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_only_differences_of_indices_matter():
    model = tiny()
    late = [segment._replace(indices=segment.indices + 40) for segment in history()]
    out = model(X, SIGMA, indices=frames(9, L), context=history(), condition=text())
    moved = model(X, SIGMA, indices=frames(49, L), context=late, condition=text())
    torch.testing.assert_close(moved, out, atol=1e-4, rtol=1e-4)
    jumped = model(X, SIGMA, indices=frames(20, L), context=history(), condition=text())
    assert (jumped - out).abs().max() > 1e-3


@torch.no_grad()
def test_samples_and_their_indices_do_not_mix():
    model = tiny()
    indices = torch.stack([frames(9, L, 1)[0], frames(30, L, 1)[0]])
    condition = text(real=[5, 2])
    out = model(X, SIGMA, indices=indices, context=history(), condition=condition)
    for i, length in enumerate([5, 2]):
        one = slice(i, i + 1)
        context = [Segment(s.latents[one], s.indices[one], s.kernel) for s in history()]
        alone = Condition(condition.tokens[one, :length], None)
        expected = model(X[one], SIGMA[one], indices=indices[one], context=context, condition=alone)
        torch.testing.assert_close(out[one], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text_length", [None, 9])
@torch.no_grad()
def test_padding_of_texts_is_not_seen(text_length: int | None):
    model = tiny(**BARE, text_length=text_length)
    condition = text(real=[4, 2])
    out = model(X, SIGMA, indices=frames(0, L), condition=condition)
    spoilt = condition.tokens.clone()
    spoilt[0, 4:], spoilt[1, 2:] = 7.0, -3.0
    again = model(X, SIGMA, indices=frames(0, L), condition=condition._replace(tokens=spoilt))
    torch.testing.assert_close(again, out, atol=0, rtol=0)


def test_a_text_without_tokens_is_no_text():
    model = tiny(**BARE)
    out = model(X, SIGMA, indices=frames(0, L), condition=text(real=[3, 0]))
    out.square().mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
    assert out.isfinite().all()


@torch.no_grad()
def test_order_of_segments_does_not_matter():
    model = tiny()
    out = model(X, SIGMA, indices=frames(9, L), context=history(), condition=text())
    again = model(X, SIGMA, indices=frames(9, L), context=history()[::-1], condition=text())
    torch.testing.assert_close(again, out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("timestep", ["zero", "shared"])
@torch.no_grad()
def test_equal_levels_of_frames_are_one_level(timestep: str):
    model = tiny(history_timestep=timestep)
    out = model(X, SIGMA, indices=frames(9, L), context=history(), condition=text())
    levels = SIGMA[:, None].expand(-1, L)
    each = model(X, levels, indices=frames(9, L), context=history(), condition=text())
    torch.testing.assert_close(each, out, atol=1e-5, rtol=1e-5)


def test_recomputed_blocks_give_the_same_gradients():
    grads = []
    for checkpoint in (False, True):
        model = tiny(checkpoint=checkpoint)
        out = model(X, SIGMA, indices=frames(9, L), context=history(), condition=text(real=[5, 3]))
        out.square().mean().backward()
        grads.append([weight.grad for weight in model.parameters()])
    assert all(grad is not None for grad in grads[0])
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-5)


def test_gradients_equal_differences():
    """Through the norms and rotations whose backward passes are written by hand."""
    model = tiny(num_layers=1).double()
    x, sigma = X[:1, :1].double().requires_grad_(), SIGMA[:1].double()
    context = [Segment(s.latents[:1].double(), s.indices[:1], s.kernel) for s in history()]
    condition = Condition(text().tokens[:1].double(), None)

    def loss(x: Tensor) -> Tensor:
        return model(x, sigma, indices=frames(9, 1, 1), context=context, condition=condition).square().sum()

    direction = drawn(*x.shape, seed=6).double()
    (grad,) = torch.autograd.grad(loss(x), x)
    step = 1e-6
    expected = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    torch.testing.assert_close((grad * direction).sum(), expected, rtol=1e-6, atol=0)


def test_first_velocity_is_zero_and_odd_sides_are_kept():
    torch.manual_seed(0)
    model = Wan(
        latent_channels=C, num_heads=2, head_dim=8, hidden_dim=32, num_layers=1, text_dim=TEXT, pooled_dim=5
    )
    x = drawn(B, 2, C, 5, 7)
    out = model(x, SIGMA, indices=frames(0, 2), condition=text())
    assert out.shape == x.shape
    assert out.count_nonzero() == 0
    assert model.pooled_dim == 0
    assert model.patch_layers() == [model.clean_x_embedder]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="head_dim 7 must be even"):
        tiny(head_dim=7)
    model = tiny(**BARE)
    with pytest.raises(ValueError, match="context_kernels"):
        model(X, SIGMA, indices=frames(9, L), context=history(), condition=text())
    with_image = text()._replace(image=drawn(B, 7, 6))
    with pytest.raises(ValueError, match="image_dim"):
        model(X, SIGMA, indices=frames(0, L), condition=with_image)
    with pytest.raises(ValueError, match="distilled_guidance"):
        model(X, SIGMA, indices=frames(0, L), condition=text()._replace(guidance=SIGMA))


@torch.no_grad()
def test_half_precision_stays_near():
    model = tiny(history_timestep="zero")
    out = model(X, SIGMA, indices=frames(9, L), context=history(), condition=text())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(X, SIGMA, indices=frames(9, L), context=history(), condition=text())
    half = tiny(history_timestep="zero").bfloat16()
    context = [s._replace(latents=s.latents.bfloat16()) for s in history()]
    condition = Condition(text().tokens.bfloat16(), None)
    pure = half(X.bfloat16(), SIGMA, indices=frames(9, L), context=context, condition=condition)
    assert pure.dtype == torch.bfloat16
    for near in (mixed, pure):
        assert (near.float() - out).norm() / out.norm() < 0.03


@pytest.mark.parametrize(
    ("name", "layers", "billions"), [("wan", 4, 0.0), ("wan_1_3b", 30, 1.42), ("wan_14b", 40, 14.29)]
)
def test_presets_have_published_sizes(name: str, layers: int, billions: float):
    node = kinds()["components.backbones"].nodes[name]
    sizes = {"latent_channels": 16, "text_dim": 4096, "pooled_dim": 0}
    with torch.device("meta"):
        model = build(node, Callable[..., VideoDenoiser])(**sizes)
        bare = build(node | {"context_kernels": []}, Callable[..., VideoDenoiser])(**sizes)
    assert len(model.blocks()) == layers
    assert model.context_kernels == (1, 2, 4)
    count = sum(weight.numel() for weight in bare.parameters())
    assert count / 1e9 == pytest.approx(billions, abs=0.005)
    if billions:
        assert model.rope_axes == (44, 42, 42)
