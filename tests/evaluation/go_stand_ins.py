"""Positions of Go and models that answer them: one that knows, and some that fail, each in its own way."""

import shutil
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from components.randomness import mix
from datamodules.go.games import Game
from datamodules.go.read import BoardReader
from datamodules.go.render import Renderer
from datamodules.go.rules import BLACK, EMPTY, WHITE, from_board, replay
from datamodules.go.videos import Placed
from evaluation.go_players import ModelPlayer, answering, random_move

SIZE, PASS = 5, 25
GNUGO = shutil.which("gnugo") or shutil.which("gnugo", path="/usr/games")
installed = pytest.mark.skipif(GNUGO is None, reason="no GNU Go")
NODE = {"_component_": "tests.evaluation.go_stand_ins.Boards"}


def random_moves(plies: int, seed: int) -> list[int]:
    position, moves = replay(SIZE, []), []
    random = np.random.Generator(np.random.Philox(key=mix(seed, 7)))
    for _ in range(plies):
        moves.append(random_move(position, random))
        position.play(moves[-1])
    return moves


class Boards:
    """Forty positions of random games, with a random line and values that agree with it."""

    size = SIZE

    def __init__(self, count: int = 40, values: bool = True) -> None:
        self.renderer = Renderer(size=SIZE, side=32, cell=6)
        self.reader = BoardReader(self.renderer)
        self.placed = [self._placed(number, values) for number in range(count)]
        self.places = [(Game(SIZE, [*one.moves, *one.line]), one.ply) for one in self.placed]

    def _placed(self, number: int, values: bool) -> Placed:
        plies = 6 + 2 * (number % 5)
        line = random_moves(plies + 3, number)
        moves, line = line[:plies], line[plies:]
        position = replay(SIZE, moves)
        others = sorted(position.legal() - {PASS, line[0]})
        worth = {line[0]: 4.0, others[0]: 1.0, others[1]: -1.0} if values else {}
        return Placed(position, moves, line, worth, f"game {number}", plies)

    def split(self, name: str) -> "Boards":
        assert name == "test"
        return self

    def __len__(self) -> int:
        return len(self.placed)

    def position(self, index: int) -> Placed:
        return self.placed[index]


class Step(NamedTuple):
    frames: Tensor
    codes: Tensor | None


class Knows:
    """Draws the annotator's move where it knows the board, and a legal one elsewhere.

    Its codes are the line's points: a code that was replaced is another point.
    """

    def __init__(self, **changes: object) -> None:
        self.hparams = {"data": NODE | changes, "seed": 3}
        self.device = torch.device("cpu")
        self.source = Boards()
        self.lines = {p.position.board.tobytes(): p.line for p in self.source.placed}
        self.asked: list[tuple[int, float, tuple[int, ...]]] = []

    def next_frame(self, context, generator, *, temperature, replaced=()):
        video = context["video"]
        assert video.shape[1:] == (1, 3, 32, 32)
        self.asked.append((len(video), temperature, replaced))
        boards = self.source.reader.boards(video[:, 0])
        codes = torch.tensor([self.codes(board) for board in boards])
        for index in replaced:
            codes[:, index] = (codes[:, index] + 1) % PASS
        after = np.stack([self.after(b, int(c[0])) for b, c in zip(boards, codes, strict=True)])
        return Step(self.drawn(after)[:, None], codes)

    def codes(self, board: np.ndarray) -> list[int]:
        if line := self.lines.get(board.tobytes()):
            return line
        legal = sorted(from_board(board, True).legal() - {PASS})
        return [legal[len(legal) // 2] if legal else PASS, 0, 0]

    def after(self, board: np.ndarray, point: int) -> np.ndarray:
        """The board that is drawn for a stone at a point."""
        position = from_board(board, True)
        return position.child(point).board if point in position.legal() else stone(board, point)

    def drawn(self, boards: np.ndarray) -> Tensor:
        return torch.from_numpy(self.source.renderer(boards)).float() / 255

    def imagine(self, frame, codes):
        videos = []
        for board, points in zip(self.source.reader.boards(frame), codes.tolist(), strict=True):
            position, boards = from_board(board, True), []
            for point in points:
                position = position.child(point)
                boards.append(position.board)
            videos.append(self.drawn(np.stack(boards)))
        return torch.stack(videos)


class Copies(Knows):
    """Shows the board as it was, and writes no codes."""

    def next_frame(self, context, generator, *, temperature, replaced=()):
        return Step(context["video"], None)


class PlaysOnWhite(Knows):
    """Turns a white stone black."""

    def after(self, board, point):
        return stone(board, int(np.flatnonzero(board == WHITE)[0]))


class PlaysTwice(Knows):
    """Puts the right stone and another."""

    def after(self, board, point):
        right = super().after(board, point)
        return stone(right, int(np.flatnonzero((board == EMPTY) & (right == EMPTY))[0]))


class LosesAStone(Knows):
    """Puts the right stone, and a white one is gone."""

    def after(self, board, point):
        right = super().after(board, point).copy()
        right.flat[np.flatnonzero(right == WHITE)[-1]] = EMPTY
        return right


class ToldTheState:
    """Names the annotator's move, from the state, and a pass elsewhere."""

    def __init__(self, **changes: object) -> None:
        knows = Knows(**changes)
        self.hparams, self.device, self.lines = knows.hparams, knows.device, knows.lines

    def moves(self, state, generator, *, temperature):
        boards = state.numpy().astype(np.int8)
        return torch.tensor([self.lines.get(board.tobytes(), [PASS])[0] for board in boards])


def model_player(model: Knows | ToldTheState) -> ModelPlayer:
    return ModelPlayer(name="model", answer=answering(model, Boards(), temperature=0.0, batch_size=100))


def stone(board: np.ndarray, point: int) -> np.ndarray:
    changed = board.copy()
    if point < PASS:
        changed.flat[point] = BLACK
    return changed
