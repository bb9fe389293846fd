"""The union vocabulary and what stands where, against the numbers of the paper and its code."""

import pytest
import torch

from components.sequences.union_layout import UnionLayout


def robot(**changes) -> UnionLayout:
    """As in the released robot models."""
    sizes = {"image_size": 64_000, "codes_size": 64_000, "num_special": 4, "language": True}
    return UnionLayout(**sizes | {"delimit_codes": False} | changes)


def board(**changes) -> UnionLayout:
    return UnionLayout(**{"image_size": 10, "codes_size": 7} | changes)


def test_ranges_are_disjoint_and_fill_the_table():
    for order in (["image", "special", "codes", "text"], ["text", "special", "codes", "image"]):
        layout = UnionLayout(
            image_size=64_000, codes_size=64_000, text_size=32_000, order=order, num_special=5
        )
        ids = torch.zeros(layout.size, dtype=torch.long)
        for part, size in layout.sizes.items():
            ids[layout.starts[part] : layout.starts[part] + size] += 1
        assert layout.size == 160_005
        assert torch.equal(ids, torch.ones_like(ids))


def test_the_sizes_of_the_released_models():
    layout = robot(num_special=4)
    assert layout.size == 128_004  # the release has 2 special ids: it delimits frames alone
    step = [1, 1, 32, 1, 5]  # language, begin, two cameras, end, codes
    slots = layout.slots(10, 32, 5)
    assert len(slots) == 10 * sum(step) - 5  # the last frame's codes are neither read nor learned
    assert [int((slots.frame == f).sum()) for f in (0, 9)] == [40, 35]
    assert len(UnionLayout(image_size=64_000, codes_size=64_000).slots(2, 16, 3)) == 2 * 18 + 5


def test_a_step_by_hand():
    layout = board()
    slots = layout.slots(2, 2, 3)
    tokens = layout.tokens(slots, torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([[[0, 6, 5]]]))
    begin, end, codes_begin, codes_end = range(10, 14)
    by_hand = [begin, 1, 2, end, codes_begin, 14, 20, 19, codes_end, begin, 3, 4, end]
    assert tokens.tolist() == [by_hand]
    assert layout.images_of(slots, tokens, 2).tolist() == [[[1, 2], [3, 4]]]
    assert layout.codes_of(slots, tokens, 2).tolist() == [[[0, 6, 5]]]
    assert torch.all((tokens[0] >= slots.first) & (tokens[0] < slots.first + slots.size))


@pytest.mark.parametrize("language", [False, True])
@pytest.mark.parametrize("context_too", [False, True])
def test_images_and_codes_share_out_what_is_learned(language, context_too):
    slots = board(language=language).slots(3, 4, 2)
    both, frames, codes = (slots.learned(t, context_too=context_too) for t in ("both", "frames", "codes"))
    assert torch.equal(both, frames ^ codes)
    assert not (frames & codes).any()
    assert not (both & slots.is_language).any()
    assert not both[0]
    count = 2 * 6 + 2 * 4 + (6 if context_too else 0)
    assert int(both.sum()) == count - (
        1 if context_too and not language else 0
    )  # nothing is before the first
    assert bool(frames[slots.frame == 0].any()) == context_too


def test_the_last_frame_has_no_codes_and_none_has_without_any():
    slots = board().slots(3, 4, 2)
    assert not slots.of_codes[slots.frame == 2].any()
    assert not board().slots(3, 4, 0).of_codes.any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"order": ["image", "codes"]}, "name each of"), ({"num_special": 3}, "delimiters take 4 ids")],
)
def test_what_does_not_fit_is_told(changes, told):
    with pytest.raises(ValueError, match=told):
        board(**changes)
