"""The expert does every task, alone and in chains; chance does not."""

from itertools import islice

import numpy as np
import pytest

from environments.table_expert import RandomActions, expert_action
from environments.table_tasks import TASKS, chains


def steps_of_the_expert(table, task: str) -> int:
    """How many actions the expert takes from here, -1 where it gives up."""
    for step in range(table.max_steps):
        *_, success, _, _ = table.step(expert_action(table.table_state().vector(), task))
        if success:
            return step + 1
    return -1


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("seed", range(3))
def test_the_expert_does_every_task(blind_table, task, seed):
    blind_table.reset(seed=seed, options={"task": task})
    assert 5 < steps_of_the_expert(blind_table, task) < 45


def test_the_expert_does_chains_of_five_without_a_reset(blind_table):
    for seed, chain in enumerate(islice(chains(1), 6)):
        blind_table.reset(seed=seed, options={"task": chain.tasks[0], "start": chain.start})
        for name in chain.tasks:
            blind_table.begin(name)
            assert steps_of_the_expert(blind_table, name) > 0, (chain.tasks, name)


def test_the_expert_lets_a_button_go_before_it_presses_again(blind_table):
    blind_table.reset(seed=0, options={"task": "turn_on_led"})
    for name in ("turn_on_led", "turn_off_led", "turn_on_led", "turn_off_led"):
        blind_table.begin(name)
        assert 0 < steps_of_the_expert(blind_table, name) < 45


def test_random_actions_are_correlated_bounded_and_fixed_by_their_seed():
    first, again = RandomActions(seed=4), RandomActions(seed=4)
    actions = np.stack([first() for _ in range(4000)])
    assert np.array_equal(actions[:50], np.stack([again() for _ in range(50)]))
    assert not np.array_equal(actions[:50], np.stack([RandomActions(seed=5)() for _ in range(50)]))
    assert actions.dtype == np.float32
    assert np.abs(actions).max() == 1.0
    x = actions[:, 0] - actions[:, 0].mean()
    assert 0.35 < (x[1:] * x[:-1]).mean() / x.var() < 0.6


def test_chance_seldom_does_a_task_but_moves_things(blind_table):
    successes, moved = 0, 0
    for seed in range(12):
        blind_table.reset(seed=seed)
        act, before = RandomActions(seed=seed), blind_table.table_state().vector()
        for _ in range(blind_table.max_steps):
            *_, success, over, _ = blind_table.step(act())
            if success or over:
                break
        successes += success
        moved += np.abs(blind_table.table_state().vector() - before)[3:].max() > 0.01
    assert successes <= 3
    assert moved >= 3
