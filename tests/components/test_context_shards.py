"""Rows are cut so that every token is somewhere once, with all that belongs to it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.context_parallel import ALONE, ContextGroup
from components.sequences import Example
from components.sequences.context_shards import local_share, slots_of
from components.sequences.packing import PADDING, Packed, pack
from tests.components.ring_jobs import LAYOUTS


def packed(*lengths: int) -> Packed:
    examples = []
    for length in lengths:
        tokens = torch.arange(100, 100 + length)
        examples.append(Example(tokens, tokens % 3 == 0, torch.ones(length)))
    return pack(examples, 21, "masked")


@given(size=st.integers(1, 6), times=st.integers(1, 5), layout=st.sampled_from(LAYOUTS))
def test_every_slot_is_held_once_in_order(size, times, layout):
    length = 2 * size * times
    held = [slots_of(layout, length, rank, size) for rank in range(size)]
    assert torch.cat(held).sort().values.tolist() == list(range(length))
    assert all((slots.diff() > 0).all() and len(slots) == 2 * times for slots in held)


def test_who_holds_what():
    held = {layout: [slots_of(layout, 8, rank, 2).tolist() for rank in range(2)] for layout in LAYOUTS}
    assert held == {
        "contiguous": [[0, 1, 2, 3], [4, 5, 6, 7]],
        "zigzag": [[0, 1, 6, 7], [2, 3, 4, 5]],
        "striped": [[0, 2, 4, 6], [1, 3, 5, 7]],
    }


@pytest.mark.parametrize(("layout", "length"), [("zigzag", 6), ("contiguous", 5), ("striped", 5)])
def test_a_row_that_does_not_divide_is_told(layout, length):
    with pytest.raises(ValueError, match=rf"a row of {length} slots cannot be cut into \d pieces"):
        slots_of(layout, length, 0, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_shares_together_are_the_rows(layout, size):
    rows = packed(9, 4, 17, 21)
    shares = [local_share(rows, ContextGroup(rank=r, size=size, layout=layout)) for r in range(size)]
    length = size * shares[0].tokens.shape[1]
    order = torch.cat([slots_of(layout, length, rank, size) for rank in range(size)]).argsort()
    for name in set(Packed._fields) - {"counts"}:
        joined = torch.cat([getattr(share, name) for share in shares], dim=1)[:, order]
        assert joined[:, :21].equal(getattr(rows, name)), name
        assert (joined[:, 21:] == (PADDING if name == "segments" else 0)).all(), name
    torch.testing.assert_close(torch.stack([share.counts for share in shares]).sum(0), rows.counts)


def test_one_process_holds_the_rows_themselves():
    rows = packed(9, 4)
    assert local_share(rows, ALONE) is rows
