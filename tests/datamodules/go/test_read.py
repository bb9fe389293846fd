"""The reader inverts the renderer, also through blur and noise."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datamodules.go.read import BoardReader
from datamodules.go.render import Renderer
from datamodules.go.rules import BLACK, Position

SIZES = [(5, 32, 6), (7, 40, 5), (9, 40, 4)]


def some_boards(size: int, count: int) -> np.ndarray:
    shares = [0.5, 0.25, 0.25]
    return np.random.default_rng(0).choice(3, p=shares, size=(count, size, size)).astype(np.int8)


def reader(size: int, side: int, cell: int) -> BoardReader:
    return BoardReader(Renderer(size=size, side=side, cell=cell))


def positions(count: int, size: int) -> list[Position]:
    """Random games, a position with Black to move of each."""
    found = []
    for seed in range(count):
        rng, position = random.Random(seed), Position(size)
        for _ in range(2 * rng.randrange(14)):
            position.play(rng.choice(sorted(position.legal() - {size**2}) or [size**2]))
        if not position.over:
            found.append(position)
    return found


def test_every_legal_move_of_a_thousand_boards_is_found():
    own, captures, moves = reader(5, 32, 6), 0, 0
    placed = positions(1_000, 5)
    assert len(placed) > 950
    for position in placed:
        points = sorted(position.legal() - {25})
        if not points:
            continue
        before = np.stack([position.board] * len(points))
        after = np.stack([position.child(point).board for point in points])
        frames = own.renderer(after)
        assert np.array_equal(own.boards(frames), after)
        assert own.new_stone(before, frames).tolist() == points
        assert np.array_equal(own.changed(before, frames), (after != before).sum(axis=(1, 2)))
        unchanged = own.renderer(before[:1])
        assert own.new_stone(before[:1], unchanged).tolist() == [-1]
        assert own.changed(before[:1], unchanged).tolist() == [0]
        captures += ((before != 0) & (after == 0)).any(axis=(1, 2)).sum()
        moves += len(points)
    assert captures > 200
    assert moves > 8_000


@pytest.mark.parametrize(("size", "side", "cell"), [*SIZES, (9, 256, 29)])
def test_uint8_floats_tensors_and_arrays_read_alike(size, side, cell):
    own, boards = reader(size, side, cell), some_boards(size, 20)
    frames = own.renderer(boards)
    tensor = torch.from_numpy(frames)
    for given in (frames, tensor, tensor / 255, tensor.double() / 255, (tensor / 255).bfloat16()):
        assert np.array_equal(own.boards(given), boards)
    assert own.boards(frames[:0]).shape == (0, size, size)


@pytest.mark.parametrize(("size", "side", "cell"), SIZES)
def test_boards_are_read_through_noise(size, side, cell):
    own, boards = reader(size, side, cell), some_boards(size, 200)
    frames = torch.from_numpy(own.renderer(boards)) / 255
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(own.boards(frames + 0.1 * noise), boards)


def test_boards_are_read_through_blur_and_noise():
    own, boards = reader(5, 32, 6), some_boards(5, 400)
    frames = torch.from_numpy(own.renderer(boards)) / 255
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        frames = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, 1)
        assert np.array_equal(own.boards(frames), boards)
        assert np.array_equal(own.boards(frames + 0.1 * noise), boards)


def test_of_several_new_stones_the_clearest_is_told():
    own = reader(5, 32, 6)
    before = np.zeros((1, 5, 5), dtype=np.int8)
    faint, clear, white = (before.copy() for _ in range(3))
    faint[0, 1, 1], clear[0, 3, 2], white[0, 4, 4] = 1, 1, 2
    ground = own.renderer(before) / 255
    mixed = ground + 0.7 * (own.renderer(faint) / 255 - ground) + (own.renderer(clear) / 255 - ground)
    mixed += own.renderer(white) / 255 - ground
    assert own.new_stone(before, mixed).tolist() == [17]
    assert own.changed(before, mixed).tolist() == [3]


def test_a_stone_that_changes_colour_is_new_and_one_that_stays_is_not():
    own = reader(5, 32, 6)
    before = np.full((1, 5, 5), BLACK, dtype=np.int8)
    before[0, 2, 2] = 2
    assert own.new_stone(before, own.renderer(before)).tolist() == [-1]
    assert own.new_stone(before, own.renderer(np.full_like(before, BLACK))).tolist() == [12]


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"frames of \(3, 16, 16\); boards are read from \(3, 32, 32\)"):
        reader(5, 32, 6).boards(np.zeros((1, 3, 16, 16), dtype=np.uint8))
