"""Pooled rotary positions against the closed form and diffusers' tables; heads against the plain chain."""

import cmath
import math

import pytest
import torch
from torch import Tensor

from components.attention.normed_heads import normed_heads
from components.attention.rope_3d import rope_3d

AXES = (4, 6, 6)


def phasors(indices: Tensor, height: int, width: int, kernel: int = 1, **options: str) -> Tensor:
    return torch.complex(*rope_3d(indices, height, width, AXES, 256.0, kernel, **options))


def mean_phasor(place: float, frequency: float, kernel: int) -> complex:
    """The closed form of the mean of exp(i f p) over p = place, ..., place + kernel - 1."""
    shrink = math.sin(kernel * frequency / 2) / (kernel * math.sin(frequency / 2))
    return cmath.exp(1j * frequency * (place + (kernel - 1) / 2)) * shrink


@pytest.mark.parametrize("kernel", [2, 4, 8])
def test_a_large_patch_has_the_mean_phasor_of_what_it_covers(kernel: int) -> None:
    first = torch.tensor([[3], [50]]) + torch.arange(2 * kernel)
    made = phasors(first, 2 * kernel, 3 * kernel, kernel).unflatten(1, (2, 2, 3))
    for sample, cell, row, column in ((0, 0, 0, 0), (0, 1, 1, 2), (1, 1, 0, 1)):
        places = (first[sample, cell * kernel].item(), row * kernel, column * kernel)
        wanted = [
            mean_phasor(place, 256.0 ** (-2 * i / dim), kernel)
            for place, dim in zip(places, AXES, strict=True)
            for i in range(dim // 2)
        ]
        assert (made[sample, cell, row, column] - torch.tensor(wanted)).abs().max() < 1e-6


def test_eight_frames_turn_the_fastest_pair_around() -> None:
    (made,) = phasors(torch.arange(8)[None], 8, 8, 8)[0, :, 0]
    lengths = [mean_phasor(0, 1.0, k) / cmath.exp(1j * (k - 1) / 2) for k in (2, 4, 8)]
    assert [round(x.real, 6) for x in lengths] == [0.877583, 0.474160, -0.197320]
    assert abs(made / cmath.exp(3.5j) + 0.197320) < 1e-6


def test_the_mean_angle_keeps_the_length() -> None:
    made = phasors(torch.arange(4)[None], 4, 4, 4, pool="angle")[0, 0]
    wanted = [cmath.exp(1.5j * 256.0 ** (-2 * i / dim)) for dim in AXES for i in range(dim // 2)]
    assert (made - torch.tensor(wanted)).abs().max() < 1e-6


def test_sides_that_do_not_divide_repeat_their_last_phasor() -> None:
    made = phasors(torch.tensor([[0, 1, 7]]), 3, 5, 2).unflatten(1, (2, 2, 3))
    base = phasors(torch.tensor([[0, 1, 7, 7]]), 4, 6).unflatten(1, (4, 4, 6))
    base[:, :, 3] = base[:, :, 2]
    base[:, :, :, 5] = base[:, :, :, 4]
    cells = base.unflatten(3, (3, 2)).unflatten(2, (2, 2)).unflatten(1, (2, 2))
    assert (made - cells.mean(dim=(2, 4, 6))).abs().max() < 1e-6


def test_jumping_times_are_a_slice_of_all_times() -> None:
    whole = phasors(torch.arange(40)[None], 2, 3).unflatten(1, (40, 6))
    times = torch.tensor([[0, 28, 29, 39], [39, 2, 5, 5]])
    made = phasors(times, 2, 3).unflatten(1, (4, 6))
    assert torch.equal(made[0], whole[0, times[0]])
    assert torch.equal(made[1], whole[0, times[1]])


def test_tables_are_those_of_diffusers() -> None:
    theirs = pytest.importorskip("diffusers.models.transformers.transformer_hunyuan_video_framepack")
    indices = torch.tensor([0, 28, 29, 36])
    rope = theirs.HunyuanVideoFramepackRotaryPosEmbed(2, 1, AXES, 256.0)
    wanted = rope(indices, 8, 12, torch.device("cpu"))  # in float32, each value twice
    for made, table in zip(rope_3d(indices[None], 4, 6, AXES, 256.0), wanted, strict=True):
        assert (made[0].repeat_interleave(2, dim=1) - table).abs().max() < 5e-6


def plain_heads(x: Tensor, weight: Tensor, turns: Tensor | None) -> Tensor:
    heads = x.unflatten(-1, (-1, len(weight)))
    heads = heads * (heads.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight
    if turns is None:
        return heads
    turned = torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous()) * turns
    return torch.view_as_real(turned).flatten(-2)


@pytest.mark.parametrize("rotated", ["none", "first part", "half of the first part"])
def test_heads_and_their_gradients_are_those_of_the_plain_chain(rotated: str) -> None:
    torch.manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64).requires_grad_()  # noqa: E731
    parts = [(draw(2, 6, 24), draw(8)), (draw(2, 3, 24), draw(8))]
    count = {"none": 0, "first part": 6, "half of the first part": 3}[rotated]
    angles = torch.randn(2, count, 1, 4, dtype=torch.float64)
    turns = torch.polar(torch.rand_like(angles), angles) if count else None
    made = normed_heads(parts, turns, 1e-6)
    first, weight = parts[0]
    wanted = [
        plain_heads(first[:, :count], weight, turns),
        plain_heads(first[:, count:], weight, None),
        plain_heads(*parts[1], None),
    ]
    wanted_heads = torch.cat(wanted, dim=1)
    assert (made - wanted_heads).abs().max() < 1e-12
    slope = torch.randn_like(made)
    leaves = [tensor for part in parts for tensor in part]
    grads = zip(
        torch.autograd.grad(made, leaves, slope),
        torch.autograd.grad(wanted_heads, leaves, slope),
        strict=True,
    )
    assert all((one - other).abs().max() < 1e-12 for one, other in grads)


def test_heads_in_bfloat16_are_rounded_once() -> None:
    x, weight = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0)), torch.full((8,), 1.5)
    turns = torch.polar(torch.ones(1, 5, 1, 4), torch.arange(20.0).view(1, 5, 1, 4))
    rough = x.bfloat16()
    made = normed_heads([(rough, weight)], turns, 1e-6)
    assert torch.equal(made, normed_heads([(rough.float(), weight)], turns, 1e-6).bfloat16())
