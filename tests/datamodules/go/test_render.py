"""Pictures of boards: where the lines are, what stones look like."""

import numpy as np
import pytest

from datamodules import SourceError
from datamodules.go.render import ORANGE, Renderer


def one(size: int, point: int, colour: int) -> np.ndarray:
    board = np.zeros((1, size, size), dtype=np.int8)
    board[0, point // size, point % size] = colour
    return board


def test_the_lines_of_the_published_pictures():
    renderer = Renderer(size=9, side=256, cell=29)
    assert renderer.centres.tolist() == [12 + 29 * i for i in range(9)]
    empty = renderer(np.zeros((1, 9, 9), dtype=np.int8))[0]
    dark = (empty == 0).all(axis=0)
    assert np.flatnonzero(dark[:, 20]).tolist() == renderer.centres.tolist()
    assert np.flatnonzero(dark[20]).tolist() == renderer.centres.tolist()
    assert not dark[:12].any()
    assert not dark[:, 245:].any()
    assert empty[:, 30, 30].tolist() == list(ORANGE)
    assert set(map(tuple, empty.reshape(3, -1).T.tolist())) == {ORANGE, (0, 0, 0)}


@pytest.mark.parametrize(
    ("size", "side", "cell"), [(5, 32, 6), (7, 40, 5), (9, 40, 4), (9, 256, 29), (19, 160, 8)]
)
def test_a_stone_covers_a_disc_around_its_point_and_nothing_else(size, side, cell):
    renderer = Renderer(size=size, side=side, cell=cell)
    empty = renderer(np.zeros((1, size, size), dtype=np.int8))[0].astype(int)
    y, x = np.mgrid[:side, :side]
    for row, column, colour, shade in ((1, 2, 1, 0), (2, 0, 2, 255), (size - 1, size - 1, 2, 255)):
        frame = renderer(one(size, row * size + column, colour))[0]
        distance = np.hypot(y - renderer.centres[row], x - renderer.centres[column])
        assert (frame[:, distance <= 0.45 * cell - 0.5] == shade).all()
        assert (frame[:, distance >= 0.45 * cell + 0.5] == empty[:, distance >= 0.45 * cell + 0.5]).all()


def test_an_edge_is_soft():
    renderer = Renderer(size=5, side=32, cell=6)
    frame = renderer(one(5, 12, 2))[0]
    rim = frame[2, 16 - 2, 16 - 2]  # 2.83 pixels off, where the disc ends at 2.7
    assert rim == int(255 * (2.7 + 0.5 - np.hypot(2, 2)) + 0.5)


def test_a_row_comes_first_and_the_top_is_row_0():
    renderer = Renderer(size=5, side=32, cell=6)
    assert (renderer(one(5, 1, 1))[0][:, 4, 10] == 0).all()
    assert (renderer(one(5, 3, 2))[0][:, 4, 22] == 255).all()
    assert (renderer(one(5, 20, 2))[0][:, 28, 4] == 255).all()


def test_many_boards_are_rendered_as_one_by_one_and_touching_stones_add_up():
    renderer = Renderer(size=5, side=32, cell=6)
    boards = np.random.default_rng(0).integers(0, 3, (20, 5, 5)).astype(np.int8)
    frames = renderer(boards)
    assert frames.dtype == np.uint8
    assert frames.shape == (20, 3, 32, 32)
    assert np.array_equal(frames, np.concatenate([renderer(b[None]) for b in boards]))
    full = renderer(np.full((1, 5, 5), 2, dtype=np.int8))[0]
    assert (full[:, 4, [4, 10, 16, 22, 28]] == 255).all()
    assert full[2, 4, 7] == int(255 * 0.4 + 0.5)  # between two discs, a fifth of each one's edge


def test_sizes_that_do_not_fit_are_told():
    with pytest.raises(
        SourceError, match="go: 9 lines every 6 pixels on 32x32 pixels; give a cell of 3 to 3"
    ):
        Renderer(size=9, side=32, cell=6)
    with pytest.raises(SourceError, match="give a larger picture"):
        Renderer(size=19, side=32, cell=1)
