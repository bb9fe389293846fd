"""Attention against its dense form, rotary positions against their definition."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.attention.cache import KVCache
from components.attention.causal import (
    attend_by_mask,
    attend_in_parts,
    causal_attention,
    runs,
    segment_mask,
)
from components.attention.rope import Rope, rotated_heads


def drawn(b: int, s: int, h: int, g: int, d: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(s)
    return [
        torch.randn(b, s, heads, d, generator=draw, dtype=dtype, requires_grad=True) for heads in (h, g, g)
    ]


def by_hand(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], dim=2) for x in (k, v))
    scores = torch.einsum("bshd,bthd->bhst", q, k) / q.shape[-1] ** 0.5
    share = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).nan_to_num()
    return torch.einsum("bhst,bthd->bshd", share, v)


def assert_same(q: Tensor, k: Tensor, v: Tensor, made: Tensor, expected: Tensor) -> None:
    assert (made - expected).abs().max() < 1e-12
    slope = torch.linspace(-1, 1, made.numel(), dtype=made.dtype).view_as(made)
    for one, other in zip(
        torch.autograd.grad(made, (q, k, v), slope),
        torch.autograd.grad(expected, (q, k, v), slope),
        strict=True,
    ):
        assert (one - other).abs().max() < 1e-12


segment_rows = st.lists(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 5)), min_size=1, max_size=4), min_size=1, max_size=2
)


@settings(max_examples=40, deadline=None)
@given(rows=segment_rows)
def test_any_segments_equal_the_dense_form(rows: list[list[tuple[int, int]]]) -> None:
    ids = [[segment for segment, length in row for _ in range(length)] for row in rows]
    length = min(len(row) for row in ids)
    segments = torch.tensor([row[:length] for row in ids])
    assume((segments >= 0).any())
    q, k, v = drawn(len(ids), length, 4, 2)
    made = causal_attention(segments=segments, positions=None)(q, k, v)
    assert_same(q, k, v, made, by_hand(q, k, v, segment_mask(segments)))
    assert made[segments < 0].abs().sum() == 0


def test_one_segment_is_plain_causal_attention() -> None:
    q, k, v = drawn(2, 7, 4, 4)
    made = causal_attention(segments=None, positions=None)(q, k, v)
    assert_same(q, k, v, made, by_hand(q, k, v, torch.ones(7, 7, dtype=torch.bool).tril()))


def test_the_parts_of_a_row_are_its_runs() -> None:
    assert runs(torch.tensor([[0, 0, 1, -1], [4, 4, 4, 2]])) == [
        (2, True),
        (1, True),
        (1, False),
        (3, True),
        (1, True),
    ]
    assert runs(torch.tensor([[0, 1, 0]])) is None
    assert runs(torch.tensor([[-1, 1, -1]])) == [(1, False), (1, True), (1, False)]


def test_parts_and_mask_are_the_same_attention() -> None:
    segments = torch.tensor([[0] * 5 + [1] * 3 + [-1] * 2, [7] * 10])
    q, k, v = drawn(2, 10, 2, 1)
    assert_same(
        q,
        k,
        v,
        attend_in_parts(runs(segments) or [])(q, k, v),
        attend_by_mask(segment_mask(segments))(q, k, v),
    )


@pytest.mark.filterwarnings("ignore")
def test_the_block_mask_of_the_fused_kernel_is_the_same_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention import flex_attention

    from components.attention import causal

    made_eagerly = flex_attention.create_block_mask
    monkeypatch.setattr(causal, "_compiled_flex", lambda: flex_attention.flex_attention)
    monkeypatch.setattr(
        flex_attention, "create_block_mask", lambda *sizes, _compile: made_eagerly(*sizes, _compile=False)
    )
    segments = torch.tensor([[0] * 60 + [1] * 100 + [-1] * 40, [3] * 150 + [2] * 50])
    q, k, v = (x.detach() for x in drawn(2, 200, 4, 2, 16, torch.float32))
    expected = attend_by_mask(segment_mask(segments))(q, k, v)
    torch.testing.assert_close(causal.flex_plan(segments)(q, k, v), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("interleaved", [False, True])
def test_products_depend_on_the_distance_alone_up_to_a_million(interleaved: bool) -> None:
    rope, draw = Rope(theta=5e7, interleaved=interleaved), torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 128, generator=draw, dtype=torch.float64)
    starts = torch.tensor([[0, 1, 1_000, 131_071, 999_000]])
    products = (turned(rope, q, starts + 257) * turned(rope, k, starts)).sum(dim=-1)
    assert (products - products[0, 0]).abs().max() < 1e-8


def turned(rope: Rope, x: Tensor, positions: Tensor) -> Tensor:
    spread = x.expand(*positions.shape, 1, -1).contiguous()
    return rope.rotate(spread, rope.rotation(positions, x.shape[-1], x.dtype))[:, :, 0]


def test_positions_stay_distinct_up_to_a_million_in_float32() -> None:
    rotation = Rope(theta=5e7).rotation(torch.arange(1_000_000)[None], 128, torch.bfloat16)
    assert rotation.cosine.dtype == torch.float32
    fastest = torch.complex(rotation.cosine[0, :, 0, :2], rotation.sine[0, :, 0, :2])
    assert (fastest[1:] - fastest[:-1]).abs().amax(dim=1).min() > 0.5
    codes = torch.view_as_real(fastest).flatten(1).contiguous().view(torch.int32).to(torch.int64)
    assert torch.unique(codes[:, 0] * 2**32 + codes[:, 1] + codes[:, 2] * 31).numel() == 1_000_000


def test_angles_are_the_definition() -> None:
    angles = Rope(theta=1e4).angles(torch.tensor([3, 1_000_000]), 6)
    for row, position in zip(angles, (3, 1_000_000), strict=True):
        for i, angle in enumerate(row):
            assert angle.item() == pytest.approx(position * 1e4 ** (-2 * i / 6), rel=1e-15)


def test_both_layouts_are_one_rotation_of_permuted_features() -> None:
    x = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half, pairs = Rope(), Rope(interleaved=True)
    rotation = half.rotation(torch.arange(5)[None], 8, x.dtype)
    order = torch.arange(8).view(2, 4).T.flatten()  # 0 4 1 5 2 6 3 7
    assert torch.equal(half.rotate(x, rotation)[..., order], pairs.rotate(x[..., order], rotation))
    complex_form = torch.view_as_complex(x[..., order].unflatten(-1, (4, 2)).contiguous())
    expected = torch.view_as_real(complex_form * torch.complex(*rotation)).flatten(-2)
    assert (pairs.rotate(x[..., order], rotation) - expected).abs().max() < 1e-15


def test_bfloat16_features_are_rounded_once() -> None:
    x = torch.randn(1, 6, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    rope, positions = Rope(), torch.arange(5_000, 5_006)[None]
    exact = rope.rotate(x.double(), rope.rotation(positions, 8, torch.float64))
    made = rope.rotate(x, rope.rotation(positions, 8, torch.bfloat16))
    assert (made.double() - exact).abs().max() <= exact.abs().max() * 2**-8


@pytest.mark.parametrize("interleaved", [False, True])
def test_gradients_of_the_rotated_heads(interleaved: bool) -> None:
    rope = Rope(interleaved=interleaved)
    rotation = rope.rotation(torch.arange(3)[None], 4, torch.float64)
    fused = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def heads(x: Tensor) -> tuple[Tensor, ...]:
        return rotated_heads(x, rotation, rope, 4, 2)

    torch.autograd.gradcheck(heads, fused.requires_grad_())
    assert torch.equal(heads(fused)[2], fused[:, :, 24:].unflatten(-1, (2, 4)))
    lengths = fused[:, :, :16].unflatten(-1, (4, 4)).norm(dim=-1)
    assert (heads(fused)[0].norm(dim=-1) - lengths).abs().max() < 1e-14
    with torch.no_grad():
        plain = heads(fused)
    assert all(torch.equal(one, other) for one, other in zip(heads(fused), plain, strict=True))


def test_a_full_cache_says_so() -> None:
    cache = KVCache(
        num_layers=1, batch_size=1, num_kv_heads=1, capacity=4, head_dim=4, dtype=torch.float32, device="cpu"
    )
    cache.plan(3)
    with pytest.raises(ValueError, match="holds 4 tokens, 5 are asked for"):
        cache.plan(2)
    assert cache.length == 3
