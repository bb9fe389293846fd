import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.backbones.context_patches import ContextPatches
from components.memories import Context, Memory
from components.memories.full import Full
from components.memories.packed import Packed
from components.memories.similarity import Similarity
from components.memories.structure import Item, parse

F1 = "f1k1_x_f16k4f2k2f1k1_g9_td"
VANILLA = "td_f16k4f2k2f1k1_g9"
INVERTED = "f1k1_x_g9_f1k1f2k2f16k4_td"
ENDPOINT = "td_f16k4f4k2f1k1_g9_x_f1k1"


def frames(*values, b=1):
    """A latent frame a value, filled with it."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None, None].expand(b, -1, 2, 4, 6)


def shown(context):
    """Values of the frames and their times, by kernel."""
    return {
        segment.kernel: (segment.latents[0, :, 0, 0, 0].tolist(), segment.indices[0].tolist())
        for segment in context.segments
    }


def span(first, last):
    return list(range(first, last))


@pytest.mark.parametrize(
    ("structure", "counts"),
    [
        ("f1k1_x_g9_f1k1f2k2f16k4", (17966, 17664, 699, 184)),
        (VANILLA, (16406, 16128, 639, 168)),
        ("td_f16k4f4k2f1k1_g9", (16796, 16512, 654, 172)),
        ("td_f8k8f4k4f2k2f1k1_g9", (16122, 15864, 623, 166)),
        ("f19k1_g10", (45240, 44544, 1740, 464)),
    ],
)
def test_token_counts_of_the_paper(structure, counts):
    memory = Packed(structure=structure)
    assert isinstance(memory, Memory)
    for (height, width), count in zip(((60, 104), (64, 96), (12, 20), (8, 8)), counts, strict=True):
        assert memory.num_tokens(height, width) == count


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 25), st.sampled_from([F1, VANILLA, INVERTED]))
@settings(max_examples=20, deadline=None)
def test_counts_are_the_number_of_tokens(height, width, known, structure):
    memory = Packed(structure=structure)
    made = memory(torch.zeros(1, 1, 2, height, width), torch.zeros(1, known, 2, height, width))
    layers = ContextPatches(channels=2, dim=3, kernels=(1, 2, 4))
    tokens = sum(layers.patches(segment).shape[1] for segment in made.segments)
    section = 9 * -(-height // 2) * -(-width // 2)
    assert tokens + section == memory.num_tokens(height, width)
    assert set(memory.kernels) == {segment.kernel for segment in made.segments}


def test_layout_of_framepack_f1():
    made = Packed(structure=F1)(frames(7), frames(*span(100, 130)))
    assert shown(made) == {
        4: (span(111, 127), span(1, 17)),
        2: ([127, 128], [17, 18]),
        1: ([7, 129], [0, 19]),
    }
    assert made.indices.tolist() == [span(20, 29)]
    assert [segment.kernel for segment in made.segments] == [4, 2, 1]


@pytest.mark.parametrize(("gap", "first"), [(0, 1), (18, 19)])
def test_layout_of_the_released_model(gap, first):
    made = Packed(structure=INVERTED)(frames(7), frames(*span(100, 130)), gap=gap)
    after = first + 9
    assert made.indices.tolist() == [span(first, after)]
    assert shown(made) == {
        1: ([7, 100], [0, after]),
        2: ([101, 102], [after + 1, after + 2]),
        4: (span(103, 119), span(after + 3, after + 19)),
    }


def test_layouts_without_a_start_and_with_an_end():
    made = Packed(structure=VANILLA)(frames(7), frames(*span(100, 119)))
    assert shown(made)[1] == ([118], [18])
    assert made.indices.tolist() == [span(19, 28)]
    made = Packed(structure=ENDPOINT)(frames(7), frames(*span(100, 121)), end_gap=5, end=frames(8))
    assert shown(made)[1] == ([120, 8], [20, 35])
    assert made.indices.tolist() == [span(21, 30)]
    both = Packed(structure="f1k1_x_f2k1_g3_x_f1k1")
    assert both.shows == ("start", "end")
    made = both(frames(7), frames(1, 2), end_gap=4, end=frames(8))
    assert shown(made)[1] == ([7, 1, 2, 8], [0, 1, 2, 10])
    made = both(frames(7), frames(1, 2)[:, :0], gap=6)  # the end itself is made, from the start alone
    assert shown(made)[1] == ([7, 0, 0, 0], [0, 7, 8, 12])
    assert made.indices.tolist() == [span(9, 12)]
    nothing = Packed(structure="g9")(frames(7), frames(1))
    assert nothing.segments == []
    assert nothing.indices.tolist() == [span(0, 9)]


def test_a_gap_before_the_history():
    made = Packed(structure=F1)(frames(7), frames(1), gap=6)
    assert shown(made)[1] == ([7, 1], [0, 25])
    assert made.indices.tolist() == [span(26, 35)]


@pytest.mark.parametrize("known", [0, 1, 2, 5, 18])
def test_frames_that_do_not_exist_are_zero_and_keep_their_times(known):
    values = span(100, 100 + known)
    before = Packed(structure=F1)(frames(7), frames(*values))
    zeros = [0.0] * (19 - known)
    assert [v for k in (4, 2) for v in shown(before)[k][0]] + shown(before)[1][0][1:] == zeros + values
    assert shown(before)[4][1] == span(1, 17)
    after = Packed(structure=INVERTED)(frames(7), frames(*values))
    assert shown(after)[1][0][1:] + [v for k in (2, 4) for v in shown(after)[k][0]] == values + zeros
    assert shown(after)[4][1] == span(13, 29)


@pytest.mark.parametrize(("structure", "far", "near"), [(F1, 5, 6), (INVERTED, 19, 18)])
def test_only_the_nearest_nineteen_frames_matter(structure, far, near):
    memory = Packed(structure=structure)
    history = torch.randn(1, 25, 2, 4, 6, generator=torch.Generator().manual_seed(0))

    def latents(changed):
        other = history.clone()
        other[:, changed] += 1.0
        return [segment.latents for segment in memory(frames(7), other).segments]

    plain = [segment.latents for segment in memory(frames(7), history).segments]
    assert all(map(torch.equal, plain, latents(far)))
    assert not all(map(torch.equal, plain, latents(near)))


def test_clips_of_a_batch_and_clips_joined_are_the_same():
    memory = Packed(structure=INVERTED)
    history = torch.randn(3, 20, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    start = torch.randn(3, 1, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    whole = memory(start, history, gap=9)
    joined = Context.joined([memory(start[i : i + 1], history[i : i + 1], gap=9) for i in range(3)])
    assert torch.equal(whole.indices, joined.indices)
    for mine, other in zip(whole.segments, joined.segments, strict=True):
        assert torch.equal(mine.latents, other.latents)
        assert torch.equal(mine.indices, other.indices)
        assert mine.kernel == other.kernel
    mixed = Context.joined([memory(start[:1], history[:1], gap=gap) for gap in (0, 18)])
    assert mixed.indices[:, 0].tolist() == [1, 19]


def test_gradients_reach_the_history():
    history = torch.zeros(1, 20, 2, 4, 6, requires_grad=True)
    made = Packed(structure=F1)(frames(7), history)
    sum(segment.latents.sum() for segment in made.segments).backward()
    assert history.grad[:, 1:].eq(1).all()
    assert not history.grad[:, 0].any()


@pytest.mark.parametrize(
    ("structure", "side", "history", "kernels", "gap"),
    [
        (F1, "before", 19, (1, 2, 4), "history"),
        (VANILLA, "before", 19, (1, 2, 4), None),
        (INVERTED, "after", 19, (1, 2, 4), "section"),
        (ENDPOINT, "before", 21, (1, 2, 4), None),
        ("td_f8k8f4k4f2k2f1k1_g9", "before", 15, (1, 2, 4, 8), None),
        ("f3k1_g4", "before", 3, (1,), None),
        ("g4_f3k1", "after", 3, (1,), None),
    ],
)
def test_what_a_structure_tells(structure, side, history, kernels, gap):
    memory = Packed(structure=structure)
    assert (memory.side, memory.history, memory.kernels) == (side, history, kernels)
    assert memory.structure.gap == gap


def test_a_kernel_may_be_spelled_out():
    assert parse("f16k4h8w8f1k1h2w2_g9").history == (Item(16, 4), Item(1, 1))


@pytest.mark.parametrize(
    ("structure", "told"),
    [
        ("f16k4f2k2f1k1", "needs one section, such as g9; it has 0"),
        ("g9_f1k1_g9", "needs one section, such as g9; it has 2"),
        ("f1k1_g0", "needs one section"),
        ("", "needs one section"),
        ("ta_f16k4f2k2f1k1_g9_tc", "ta stands once"),
        ("td_f16k4f2k2f1k1_g9+D", "discretised history"),
        ("f1k1_x_td_f16k4_g9", "td stands once"),
        ("f16q4_g9", "f16q4 is no item"),
        ("f16_g9", "f16 is no item"),
        ("f0k1_g9", "f0k1 is no item"),
        ("f1k0_g9", "f1k0 is no item"),
        ("f1k1s4_g9", "s4 is no item"),
        ("f4k3_g9", "powers of two"),
        ("f4k1h8w8_g9", "powers of two"),
        ("f1k1_g9_f1k1", "history on both sides"),
        ("f2k1_x_g9_f1k1", "beyond x stands one frame"),
        ("f1k1f1k1_x_g9_f1k1", "beyond x stands one frame"),
        ("x_g9_f1k1", "beyond x stands one frame"),
        ("f1k1_x_f1k1_x_g9", "x is no item"),
        ("f16k4_f1k1_g9", "join them"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(structure, told):
    with pytest.raises(ValueError, match=told) as error:
        Packed(structure=structure)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(structure)


def test_calls_that_do_not_fit_the_structure():
    with pytest.raises(ValueError, match="no x"):
        Packed(structure=VANILLA)(frames(7), frames(1), gap=9)
    with pytest.raises(ValueError, match="no x"):
        Packed(structure=F1)(frames(7), frames(1), end_gap=9)
    with pytest.raises(ValueError, match="no place for an end"):
        Packed(structure=F1)(frames(7), frames(1), end=frames(8))


@pytest.mark.parametrize("known", [3, 19, 24, 60])
@pytest.mark.parametrize("structure", ["{}_f16k4f2k2f1k1_g9", "g9_f1k1f2k2f16k4_{}"])
def test_tails_stand_beyond_the_structure(structure, known):
    beyond, before = max(known - 19, 0), structure.startswith("{}")
    values = span(1, known + 1) if before else span(1, known + 1)[::-1]
    old = values[:beyond] if before else values[known - beyond :]
    dropped = Packed(structure=structure.format("td"))(frames(7), frames(*values))
    appended = Packed(structure=structure.format("ta"))(frames(7), frames(*values))
    tail, rest = appended.segments[0], appended.segments[1:]
    missing = [0.0] * max(16 - beyond, 0)
    assert tail.kernel == 16
    assert tail.latents[0, :, 0, 0, 0].tolist() == (missing + old if before else old + missing)
    first = -len(missing) - beyond if before else 28
    assert tail.indices[0].tolist() == span(first, first + max(beyond, 16))
    compressed = Packed(structure=structure.format("tc"))(frames(7), frames(*values))
    one = next(segment for segment in compressed.segments if segment.latents.shape[1] == 1)
    assert one.kernel == 4
    assert one.indices.tolist() == [[-1 if before else 28]]
    assert one.latents.unique().tolist() == pytest.approx([sum(old) / beyond if beyond else 0.0])
    others = [segment for segment in compressed.segments if segment is not one]
    for made in (rest, others):
        assert all(
            torch.equal(a.latents, b.latents) and torch.equal(a.indices, b.indices)
            for a, b in zip(made, dropped.segments, strict=True)
        )


def test_a_tail_costs_nothing_a_constant_or_a_token_for_sixteen_frames():
    count = {tail: Packed(structure=f"{tail}_f16k4f2k2f1k1_g9").num_tokens for tail in ("td", "ta", "tc")}
    for known in (19, 40, 1000):
        assert count["td"](60, 104, known) == 16406
        assert count["tc"](60, 104, known) == 16406 + 8 * 13
        assert count["ta"](60, 104, known) == 16406 + -(-max(known - 19, 16) // 16) * 2 * 4


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 30), st.integers(1, 70))
@settings(max_examples=20, deadline=None)
def test_counts_of_growing_memories(height, width, least, known):
    layers = ContextPatches(channels=2, dim=3, kernels=(1, 2, 4))
    for memory in (
        Full(section=3, least=least),
        Packed(structure="ta_f4k2f1k1_g3", least_tail=least),
        Similarity(structure="f1k1_x_f4k2f1k1_g3"),
    ):
        made = memory(torch.zeros(1, 1, 2, height, width), torch.zeros(1, known, 2, height, width))
        tokens = sum(layers.patches(segment).shape[1] for segment in made.segments)
        section = 3 * -(-height // 2) * -(-width // 2)
        assert tokens + section == memory.num_tokens(height, width, known)
        assert isinstance(memory, Memory)


def test_full_keeps_all_and_its_times_are_true():
    memory = Full(section=2, least=4)
    assert shown(memory(frames(7), frames(7, 8))) == {1: ([0, 0, 7, 8], [-2, -1, 0, 1])}
    made = memory(frames(7), frames(*span(7, 20)))
    assert shown(made) == {1: (span(7, 20), span(0, 13))}
    assert made.indices.tolist() == [[13, 14]]
    packed = Packed(structure="f4k1_g2")(frames(7), frames(*span(1, 5)))
    assert shown(packed) == shown(memory(frames(7), frames(*span(1, 5))))
    with pytest.raises(ValueError, match="all are kept"):
        memory(frames(7), frames(7), gap=1)


def noise(count, b=1):
    return torch.randn(b, count, 2, 4, 6, generator=torch.Generator().manual_seed(0))


def test_what_looks_like_the_newest_frame_is_kept_fine_with_its_true_time():
    history = noise(30, b=2)
    history[0, 4] = 3.0 * history[0, -1]  # seen before, brighter
    history[1, 11] = 0.5 * history[1, -1]
    made = Similarity(structure="f2k2f2k1_g3_td")(frames(7, b=2), history)
    fine = {segment.kernel: segment for segment in made.segments}[1]
    assert fine.indices.tolist() == [[4, 29], [11, 29]]
    assert torch.equal(fine.latents[0, 0], history[0, 4])
    assert made.indices.tolist() == [[30, 31, 32]] * 2


def test_sorted_by_time_alone_it_is_the_packing_by_time():
    history, start = noise(30), noise(31)[:, -1:]
    structure = "f1k1_x_f16k4f2k2f1k1_g3_td"
    by_time = Packed(structure=structure)(start, history)
    for memory in (
        Similarity(structure=structure, score="time", seconds=0.1),
        Similarity(structure=structure, score="hybrid", time_weight=1e6, seconds=0.1),
    ):
        made = memory(start, history)
        for mine, theirs in zip(made.segments, by_time.segments, strict=True):
            assert mine.kernel == theirs.kernel
            assert torch.equal(mine.latents, theirs.latents)
        assert made.segments[0].indices.tolist() == [span(11, 27)]
        assert made.segments[2].indices.tolist() == [[0, 29]]


@pytest.mark.parametrize("known", [1, 2, 5])
def test_likeness_with_few_known_frames_is_the_packing_by_time_with_zeros(known):
    structure = "f4k2f1k1_g3"
    made = Similarity(structure=structure, score="time")(frames(7), noise(known))
    by_time = Packed(structure=structure)(frames(7), noise(known))
    for mine, theirs in zip(made.segments, by_time.segments, strict=True):
        assert torch.equal(mine.latents, theirs.latents)
        assert torch.equal(mine.indices - known, theirs.indices - 5)


def test_likeness_refuses_what_it_cannot_sort():
    for structure in ("g9_f1k1f2k2", "ta_f2k1_g2", "f2k1_g2_x_f1k1"):
        with pytest.raises(ValueError, match="likeness sorts what lies before"):
            Similarity(structure=structure)
    with pytest.raises(ValueError, match="above 0"):
        Similarity(structure="f2k1_g2", seconds=0.0)
