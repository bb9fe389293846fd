"""Tasks and chains, as rules on states: no simulator."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.table_model import BLOCKS
from environments.table_state import STATE_NAMES, TableState
from environments.table_tasks import TASKS, chains, draw_start

seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(sorted(TASKS))


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_the_ten_tasks_have_the_names_of_calvin():
    pushes = {f"push_{colour}_block_{way}" for colour in ("red", "blue", "pink") for way in ("left", "right")}
    assert set(TASKS) == pushes | {"open_drawer", "close_drawer", "turn_on_led", "turn_off_led"}


def test_a_text_means_one_task_and_is_either_learned_from_or_tested_with():
    texts = [text for task in TASKS.values() for text in task.texts + task.held_out_texts]
    assert len(set(texts)) == len(texts)
    assert all(len(task.texts) >= 4 and len(task.held_out_texts) >= 2 for task in TASKS.values())


@given(seed=seeds, name=names)
def test_a_drawn_start_makes_its_task_possible_and_leaves_it_to_be_done(seed, name):
    task = TASKS[name]
    start = draw_start(generator(seed), task)
    assert task.possible(start)
    assert not task.done(start, start)
    assert task.done(start, task.outcome(start))
    for other, one in TASKS.items():
        assert other == name or not one.done(start, task.outcome(start))


@given(seed=seeds)
def test_drawn_blocks_lie_14_cm_apart(seed):
    places = draw_start(generator(seed)).blocks[:, :2]
    gaps = [np.linalg.norm(places[i] - places[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) >= 0.14


@pytest.mark.parametrize("way", ["left", "right"])
def test_a_block_that_fell_or_stands_on_another_is_not_pushed(way):
    task = TASKS[f"push_blue_block_{way}"]
    start = draw_start(generator(3), task)
    moved = task.outcome(start)
    for height in (-0.2, 0.09):
        blocks = moved.blocks.copy()
        blocks[1, 2] = height
        assert not task.done(start, replace(moved, blocks=blocks))


def test_a_push_is_impossible_while_another_block_is_in_the_way_or_the_edge_is_near():
    task = TASKS["push_red_block_right"]
    start = draw_start(generator(0), task)
    blocks = np.array([[0.0, 0.0, 0.03, 0.0], [0.3, 0.08, 0.03, 0.0], [-0.3, 0.08, 0.03, 0.0]])
    assert task.possible(replace(start, blocks=blocks))
    for block, x, y in ((1, 0.15, 0.02), (1, -0.07, 0.0), (0, 0.25, 0.0), (0, -0.30, 0.0)):
        other = blocks.copy()
        other[block, :2] = x, y
        assert not task.possible(replace(start, blocks=other))


@given(seed=seeds, length=st.integers(1, 7))
def test_each_task_of_a_chain_is_possible_after_those_before_it(seed, length):
    for chain in islice(chains(seed, length), 3):
        state = chain.start
        assert len(chain.tasks) == length
        for name in chain.tasks:
            assert TASKS[name].possible(state)
            state = TASKS[name].outcome(state)


def test_chains_are_the_same_for_a_seed_and_use_every_task():
    first, again = list(islice(chains(7), 60)), list(islice(chains(7), 60))
    assert [chain.tasks for chain in first] == [chain.tasks for chain in again]
    assert all(np.array_equal(a.start.vector(), b.start.vector()) for a, b in zip(first, again, strict=True))
    assert {name for chain in first for name in chain.tasks} == set(TASKS)
    assert [chain.tasks for chain in islice(chains(8), 60)] != [chain.tasks for chain in first]


@given(seed=seeds)
def test_a_state_survives_being_written_as_numbers(seed):
    state = draw_start(generator(seed))
    vector = state.vector()
    assert vector.shape == (len(STATE_NAMES),)
    assert np.array_equal(TableState.from_vector(vector).vector(), vector)
    assert vector[STATE_NAMES.index("pink_y")] == np.float32(state.blocks[BLOCKS.index("pink"), 1])
