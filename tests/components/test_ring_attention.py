"""Ring attention equals dense attention, however many processes share the rows and whoever holds what."""

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from components.attention import Attention
from components.attention.causal import attend_by_mask, attend_densely, segment_mask
from components.attention.ring import BlockwiseAttention, RingAttention
from components.attention.tiles import Places, attend_tile, live_tiles, merge, tile_gradients, visible
from components.context_parallel import ContextGroup, context_group
from components.sequences.context_shards import slots_of
from tests.components.ring_jobs import HEAD_DIM, HEADS, LAYOUTS, LENGTH, PROCESSES, cases, places
from tests.processes import finish, start

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 4e-2}
SHARED = list(itertools.product(LAYOUTS, range(2, PROCESSES + 1)))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """What each of four processes has found."""
    folder = tmp_path_factory.mktemp("ring")
    finish(start(["-m", "tests.components.ring_jobs", folder], PROCESSES), seconds=240)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_output_and_gradients_equal_dense_attention(found, case):
    for rank in range(case.size):
        assert max(found[rank][str(case)].values()) < BOUNDS[case.dtype]


def test_torchs_own_ring_agrees(found):
    if found[0]["oracle"] is None:
        pytest.skip("this torch has no _templated_ring_attention")
    for rank in range(2):
        assert len(found[rank]["oracle"]) == 4
        assert max(found[rank]["oracle"].values()) < 2e-6


@pytest.mark.parametrize(("layout", "size"), SHARED)
def test_every_pair_is_worked_on_once_and_zigzag_shares_the_work(found, layout, size):
    work, in_tiles = zip(*(found[rank][f"work {layout} {size}"] for rank in range(size)), strict=True)
    assert sum(work) == LENGTH * (LENGTH + 1) // 2
    if layout == "zigzag":
        assert len(set(work)) == len(set(in_tiles)) == 1
    if layout == "contiguous":
        assert max(work) * size / sum(work) == pytest.approx(2 - 1 / size, rel=0.03)


def test_a_process_that_is_gone_is_an_error_of_the_others(found):
    assert {found[rank]["left alone"] for rank in range(PROCESSES - 1)} == {"an error"}


@pytest.mark.parametrize(("layout", "size"), SHARED)
def test_blocks_travel_as_often_as_they_must(found, layout, size):
    """Keys and values W - 1 times, in the backward pass once more, and their gradients W times."""
    block = 2 * 12 * 2 * 4  # keys and values of 12 tokens, 2 heads of 4 numbers
    for rank in range(size):
        assert found[rank][f"traffic {layout} {size}"] == [block * (size - 1), block * (2 * size - 1)]


@pytest.mark.parametrize(("layout", "size"), SHARED)
def test_what_is_kept_does_not_grow_with_the_row(found, layout, size):
    """Of 24 tokens a process: q, k, v and the output, and a logarithm a query and head."""
    for rank in range(size):
        assert found[rank][f"kept {layout} {size}"] == 4 * (4 * 24 * HEADS * HEAD_DIM + 24 * HEADS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_on_shared_rows_is_training_on_whole_ones(found, layout):
    """The loss and all gradients of a decoder on packed rows, in four processes."""
    for rank in range(PROCESSES):
        loss, difference = found[rank][f"training {layout}"]
        assert loss > 1
        assert difference < 1e-12


@pytest.mark.parametrize("rows", ["whole", "segments"])
@pytest.mark.parametrize("chunks", [(1, 1), (2, 3), (5, 7), (64, 64)])
def test_blockwise_equals_dense(rows, chunks):
    segments, positions = places(rows)
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (
        torch.randn(2, LENGTH, h, 8, generator=generator, dtype=torch.float64, requires_grad=True)
        for h in (4, 2, 2, 4)
    )
    dense = attend_by_mask(segment_mask(segments))(q, k, v)
    attention = BlockwiseAttention(query_chunk=chunks[0], key_chunk=chunks[1])
    assert isinstance(attention, Attention)
    made = attention(segments=segments, positions=positions)(q, k, v)
    assert float((made - dense).detach().abs().max()) < 1e-13
    wanted, given_back = (torch.autograd.grad(x, (q, k, v), grad.detach()) for x in (dense, made))
    assert all(float((a - b).abs().max()) < 1e-13 for a, b in zip(wanted, given_back, strict=True))


def test_alone_it_is_what_it_was_told_to_be():
    assert RingAttention()(segments=None, positions=None) is attend_densely
    assert context_group() == ContextGroup()
    with pytest.raises(ValueError, match="query_chunk is 0"):
        RingAttention(query_chunk=0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_pair_is_lost_and_whole_tiles_are_whole(data):
    chunk = st.integers(1, 6)

    def some() -> Places:
        length = data.draw(st.integers(1, 12))
        numbers = st.lists(st.integers(-1, 3), min_size=length, max_size=length)
        return Places(*(torch.tensor([data.draw(numbers)]).clamp(min=low) for low in (-1, 0)))

    queries, keys = some(), some()
    tiles = live_tiles(queries, keys, data.draw(chunk), data.draw(chunk))
    everywhere = visible(queries, keys, type(tiles[0])(slice(None), slice(None), False)) if tiles else None
    if everywhere is None:
        whole = (queries.segments[:, :, None] == keys.segments[:, None]) & (queries.segments >= 0)[:, :, None]
        assert not (whole & (queries.positions[:, :, None] >= keys.positions[:, None])).any()
        return
    covered = torch.zeros_like(everywhere)
    for tile in tiles:
        seen = everywhere[:, :, tile.queries, tile.keys]
        assert seen.all() or not tile.whole
        assert not tile.causal or (
            seen.shape[2] == seen.shape[3] and (seen == torch.ones_like(seen).tril()).all()
        )
        covered[:, :, tile.queries, tile.keys] = True
    assert not (everywhere & ~covered).any()


@pytest.mark.parametrize(("layout", "masked"), [("contiguous", 0), ("zigzag", 0), ("striped", 6)])
def test_masks_are_made_where_they_must_be(layout, masked):
    """Of four processes: none, but in striped rows for the diagonal tiles of processes that come later."""
    places = [Places(torch.zeros(1, 8, dtype=torch.long), slots_of(layout, 32, r, 4)[None]) for r in range(4)]
    tiles = [tile for q in places for k in places for tile in live_tiles(q, k, 4, 4)]
    assert sum(not (tile.whole or tile.causal) for tile in tiles) == 2 * masked
    assert sum(tile.causal for tile in tiles) == (2 * 10 if layout == "striped" else 2 * 4)


@pytest.mark.parametrize("mask", ["none", "causal", "some"])
def test_plain_tiles_equal_fused_ones(mask, monkeypatch):
    """The form that runs on other devices than a CPU."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn(2, 3, 7, 4, generator=generator, dtype=torch.float64) for _ in range(4))
    seen, causal = torch.rand(2, 1, 7, 7, generator=generator) < 0.5, mask == "causal"
    seen[:, :, 2] = False  # one that sees nothing
    seen = seen if mask == "some" else None
    out, lse = attend_tile(q, k, v, seen, causal)
    merged = merge(torch.zeros_like(out), torch.full_like(lse, -torch.inf), out, lse)
    wanted = (*merged, *tile_gradients(grad, q, k, v, out, lse, seen, causal))
    monkeypatch.setattr("components.attention.tiles.FUSED_ON", ())
    out, lse = attend_tile(q, k, v, seen, causal)
    found = (out, lse, *tile_gradients(grad, q, k, v, out, lse, seen, causal))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize("causal", [False, True])
def test_flash_tiles_fit_cudas_kernels(causal):
    """Their shapes and kinds, without a device."""
    with FakeTensorMode():
        q, k, v = (torch.empty(2, 3, 64, 16, dtype=torch.bfloat16, device="cuda") for _ in range(3))
        out, lse = attend_tile(q, k, v, None, causal)
        assert (out.shape, lse.shape, lse.dtype) == (q.shape, q.shape[:3], torch.float32)
        assert [x.shape for x in tile_gradients(out, q, k, v, out, lse, None, causal)] == 3 * [q.shape]


def test_autocast_decides_in_what_it_attends():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 12, 2, 8, generator=generator, requires_grad=True) for _ in range(3))
    attention = BlockwiseAttention(query_chunk=4, key_chunk=4)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(segments=None, positions=None)(q, k, v.bfloat16())
        wanted = attend_densely(q, k, v.bfloat16())
    assert out.dtype == wanted.dtype == torch.bfloat16
    assert float((out - wanted).detach().abs().max()) < 4e-2
    out.sum().backward()
    assert q.grad.dtype == torch.float32
