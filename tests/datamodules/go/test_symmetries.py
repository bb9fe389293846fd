"""The eight symmetries of a square board."""

import numpy as np
import pytest

from datamodules.go.symmetries import SYMMETRIES, destinations, permutations, prints


@pytest.mark.parametrize("size", [2, 5, 9])
def test_a_stone_goes_where_its_board_takes_it(size):
    goes = destinations(size)
    for symmetry, come_from in enumerate(permutations(size)):
        for point in range(size**2):
            board = np.zeros(size**2, dtype=np.int8)
            board[point] = 1
            assert board[come_from].argmax() == goes[symmetry, point]
        assert goes[symmetry, size**2] == size**2
    assert goes[0].tolist() == list(range(size**2 + 1))
    assert len(np.unique(goes, axis=0)) == SYMMETRIES


def test_a_print_is_the_same_for_what_is_turned_and_no_other():
    rng = np.random.default_rng(0)
    boards = np.unique(rng.integers(0, 3, (2_000, 3, 3)).astype(np.int8), axis=0)
    turned = boards.reshape(-1, 9)[:, permutations(3)]
    classes = {min(map(bytes, of_one)) for of_one in turned}
    own = prints(boards)
    assert len(np.unique(own)) == len(classes)
    for symmetry in range(SYMMETRIES):
        assert np.array_equal(prints(turned[:, symmetry].reshape(-1, 3, 3)), own)
