from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.memories.packed import Packed
from components.orders import SamplingOrder, SectionPlan
from components.orders.endpoint import Endpoint
from components.orders.inverted import Inverted, paddings
from components.orders.vanilla import Vanilla
from components.randomness import ClipRandom

ALL = [Vanilla, Inverted, Endpoint, partial(Endpoint, chapter=3)]
ORDERS = st.sampled_from(ALL)


def random(step=0, size=64):
    return ClipRandom(0, step, first=0, size=size)


@given(ORDERS, st.integers(1, 12), st.integers(1, 9), st.integers(1, 4))
def test_every_frame_is_made_once_from_known_ones(make, num_sections, section, known):
    order = make(section=section)
    assert isinstance(order, SamplingOrder)
    have = set(range(known))
    for plan in order.steps(num_sections, known):
        made = set(range(plan.first, plan.last))
        assert len(made) == section
        assert not made & have
        history = set(range(*plan.history))
        assert history <= have
        assert plan.end is None or plan.end in have
        assert plan.start in have
        if history:
            touches = (
                plan.history[1] == plan.first if order.side == "before" else plan.history[0] == plan.last
            )
            assert touches
        have |= made
    assert have == set(range(known + num_sections * section))


@pytest.mark.parametrize(
    ("num_sections", "expected"),
    [
        (1, [0]),
        (2, [1, 0]),
        (4, [3, 2, 1, 0]),
        (5, [3, 2, 2, 1, 0]),
        (10, [3, 2, 2, 2, 2, 2, 2, 2, 1, 0]),
    ],
)
def test_gaps_of_the_released_model(num_sections, expected):
    assert paddings(num_sections) == expected
    plans = list(Inverted(section=9).steps(num_sections))
    assert [plan.gap for plan in plans] == [9 * padding for padding in expected]
    assert [plan.first for plan in plans] == [1 + 9 * k for k in reversed(range(num_sections))]
    assert plans[0].history == (1 + 9 * num_sections, 1 + 9 * num_sections)
    assert all(plan.start == 0 for plan in plans)


def test_vanilla_continues_what_is_known():
    plans = list(Vanilla(section=4).steps(3, known=6))
    assert [(plan.first, plan.last) for plan in plans] == [(6, 10), (10, 14), (14, 18)]
    assert [plan.history for plan in plans] == [(0, 6), (0, 10), (0, 14)]
    assert {(plan.gap, plan.start) for plan in plans} == {(0, 0)}


def test_inverted_works_towards_the_last_known_frame():
    plans = list(Inverted(section=4).steps(2, known=6))
    assert [(plan.first, plan.last, plan.gap, plan.start) for plan in plans] == [
        (10, 14, 4, 5),
        (6, 10, 0, 5),
    ]
    assert [plan.history for plan in plans] == [(14, 14), (10, 14)]


@pytest.mark.parametrize("known", [1, 3])
@pytest.mark.parametrize("make", ALL)
def test_training_meets_the_plans_of_sampling_and_all_of_them(make, known):
    order = make(section=4)
    num_frames = known + 5 * 4 + 3  # five sections and a rest
    lengths = [5] if make is Vanilla else range(1, 6)
    met = {plan for n in lengths for plan in order.steps(n, known)}
    drawn = {plan for step in range(8) for plan in order.draw(num_frames, random(step), known)}
    assert drawn == met


@pytest.mark.parametrize("make", ALL[1:])
def test_some_clips_of_training_are_told_what_lies_behind_them(make):
    order = make(section=4, endings=0.5)
    num_frames = 1 + 3 * 4  # the third section has nothing behind it
    plans = [
        {plan for n in counts for plan in order.steps(n, ending=ending)}
        for counts, ending in ((range(1, 4), False), (range(1, 3), True))
    ]
    drawn = {plan for step in range(8) for plan in order.draw(num_frames, random(step))}
    assert drawn == plans[0] | plans[1]
    assert plans[0] != plans[1]


def test_training_contexts_are_those_of_sampling():
    """The same segments, times and zeros, also where the clip goes on behind the video that it stands for."""
    z = torch.randn(1, 30, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for order, structure in (
        (Vanilla(section=3), "f1k1_x_f4k2f1k1_g3_td"),
        (Inverted(section=3), "f1k1_x_g3_f1k1f4k2_td"),
        (Endpoint(section=3), "f1k1_x_f4k2f1k1_g3_x_f1k1"),
    ):
        memory = Packed(structure=structure)
        assert order.side == memory.side
        drawn = order.draw(30, random(size=16))
        for plan in drawn:
            if order.side == "before":
                canvas = torch.zeros_like(z)  # as sampling has it when it comes to this section
                here = slice(*plan.history)
                canvas[:, here], canvas[:, plan.start] = z[:, here], z[:, plan.start]
                if plan.end is not None:
                    canvas[:, plan.end] = z[:, plan.end]
            else:
                canvas = z[:, : plan.history[1]].clone()
                canvas[:, 1 : plan.last] = 0
            mine, theirs = (
                memory(
                    video[:, plan.start : plan.start + 1],
                    video[:, plan.history[0] : plan.history[1]],
                    gap=plan.gap,
                    end=None if plan.end is None else video[:, plan.end : plan.end + 1],
                    end_gap=plan.end_gap,
                )
                for video in (z, canvas)
            )
            assert torch.equal(mine.indices, theirs.indices)
            for a, b in zip(mine.segments, theirs.segments, strict=True):
                assert torch.equal(a.latents, b.latents)
                assert torch.equal(a.indices, b.indices)


def test_an_end_is_made_first_and_then_what_leads_to_it():
    plans = list(Endpoint(section=4, longest=2).steps(5))
    assert [plan.first for plan in plans] == [17, 1, 5, 9, 13]
    assert plans[0][2:] == ((17, 17), 8, 0, None, 0)
    assert [plan.history for plan in plans[1:]] == [(0, 1), (0, 5), (0, 9), (0, 13)]
    assert [(plan.gap, plan.end, plan.end_gap) for plan in plans[1:]] == [
        (0, 17, 8), (0, 17, 8), (0, 17, 4), (0, 17, 0)
    ]  # fmt: skip
    assert next(Endpoint(section=4).steps(1)) == SectionPlan(1, 5, (0, 1), 0, 0)


def test_every_chapter_has_an_end_of_its_own():
    plans = list(Endpoint(section=2, chapter=3).steps(7))
    assert [plan.first for plan in plans] == [5, 1, 3, 11, 7, 9, 13]
    assert [plan.end for plan in plans] == [None, 5, 5, None, 11, 11, None]
    assert plans[-1].history == (0, 13)  # a chapter of one section goes on like any other


@pytest.mark.parametrize(("make", "shown"), [(Inverted, (9, 10)), (Endpoint, 9)])
def test_a_given_end_is_looked_at_by_the_section_before_it(make, shown):
    plans = list(make(section=4).steps(2, ending=True))
    assert (plans[0].history if make is Inverted else plans[0].end) == shown
    if make is Inverted:
        assert plans[1].history == (5, 10)
    with pytest.raises(ValueError, match="variant=endpoint"):
        list(Vanilla(section=4).steps(2, ending=True))


@pytest.mark.parametrize("make", ALL)
def test_draws_belong_to_clips_not_to_processes(make):
    order = make(section=2)
    whole = order.draw(21, random(size=8))
    halves = [order.draw(21, ClipRandom(0, 0, first=first, size=4)) for first in (0, 4)]
    assert whole == halves[0] + halves[1]
    assert len(set(whole)) > 1


@pytest.mark.parametrize("make", ALL)
def test_clips_that_hold_no_section_are_refused(make):
    with pytest.raises(ValueError, match="clip of 9 latent frames holds no section of 9 behind 1"):
        make(section=9).draw(9, random())
    with pytest.raises(ValueError, match="behind 0 known"):
        make(section=9).draw(30, random(), known=0)
