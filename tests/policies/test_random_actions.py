"""Chance in environments with other actions than the play-table's."""

import numpy as np
import pytest

from environments.table_expert import RandomActions
from policies import Scene
from policies.random_actions import Random


def actions(width: int, seed: int = 3, count: int = 400) -> np.ndarray:
    scene = Scene("any", "do it", None, lambda: None, width, None)
    episode = Random().begin(None, scene, seed=seed)
    return np.stack([episode.act({}, None) for _ in range(count)])


@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_actions_are_as_wide_as_the_environments_and_bounded(width):
    made = actions(width)
    assert made.shape == (400, width)
    assert made.dtype == np.float32
    assert np.abs(made).max() == 1
    assert np.array_equal(made, actions(width))
    assert not np.array_equal(made, actions(width, seed=4))


def test_only_a_third_number_drifts_downwards():
    drift = actions(4, count=5000).mean(axis=0)
    assert drift[2] < -0.1
    assert np.abs(drift[[0, 1, 3]]).max() < 0.07
    assert np.abs(actions(2, count=5000).mean(axis=0)).max() < 0.07


def test_the_play_tables_sequence_is_its_own():
    act = RandomActions(seed=3)
    assert np.array_equal(actions(7, count=50), np.stack([act() for _ in range(50)]))
    first = [1.0, -1.0, 0.21357, -0.42583, -0.33949, -0.1617, -1.0]
    np.testing.assert_allclose(actions(7)[0], first, atol=1e-4)
