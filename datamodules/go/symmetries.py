"""Boards that are the same but for a turn or a mirror."""

import numpy as np
from jaxtyping import Int, Int8, UInt64

SYMMETRIES = 8  # of a square; the first one changes nothing


def permutations(size: int) -> Int[np.ndarray, "8 p"]:
    """Where the stone of each point comes from: symmetry k of a board is board.flat[permutations[k]]."""
    grid = np.arange(size**2).reshape(size, size)
    turned = [np.rot90(mirrored, turns) for mirrored in (grid, grid[:, ::-1]) for turns in range(4)]
    return np.stack([board.ravel() for board in turned])


def destinations(size: int) -> Int[np.ndarray, "8 p+1"]:
    """Where each point goes in each symmetry; a pass stays one."""
    goes = permutations(size).argsort(axis=1)
    return np.concatenate([goes, np.full((SYMMETRIES, 1), size**2)], axis=1)


def prints(boards: Int8[np.ndarray, "n s s"]) -> UInt64[np.ndarray, " n"]:
    """One number a board, the same in all its symmetries, another for any other board (2**-64 by chance)."""
    size = boards.shape[-1]
    rng = np.random.Generator(np.random.Philox(key=size))
    table = rng.integers(2**64, size=(3, size**2), dtype=np.uint64)  # of each stone on each point
    stones = boards.reshape(len(boards), -1)
    sums = [
        sum(
            ((stones == colour) * table[colour, come_from].astype(np.uint64)).sum(axis=1) for colour in (1, 2)
        )
        for come_from in permutations(size)
    ]
    return np.min(np.stack(sums), axis=0)
