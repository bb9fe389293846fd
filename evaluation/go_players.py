"""Who plays Go: models that draw the next board or are told the state, GNU Go with random moves mixed in.

A board is int8 (size, size): 0 empty, 1 black, 2 white. A point is row * size + column, size**2 is a pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.clip import Clip
from components.randomness import mix
from datamodules.go.gnugo import GnuGo
from datamodules.go.rules import Position, replay

NOWHERE = -1  # there is no new stone
SWAPPED = np.array([0, 2, 1], dtype=np.int8)  # each colour's other


class Answers(NamedTuple):
    """What a model says to n boards on which Black is to move.

    points: where Black's new stone stands; NOWHERE = there is none; a model that names its move may pass.
    boards: what the whole of the drawn frame shows, int8 (n, size, size).
    frames, codes: as the model wrote them. None, these and boards, of a model that draws nothing.
    """

    points: np.ndarray
    boards: np.ndarray | None = None
    frames: Float[Tensor, "n 3 h w"] | None = None
    codes: Int[Tensor, "n m"] | None = None


class Answering(Protocol):
    """Answer boards, all in few batches; replaced: codes that give way to random ones."""

    def __call__(self, boards: np.ndarray, *, seed: int, replaced: tuple[int, ...] = ()) -> Answers: ...


@dataclass
class Going:
    """A game that goes on.

    moves: all that led to the position, the opening's too. seed: of the game's randomness.
    """

    position: Position
    moves: list[int]
    seed: int

    @classmethod
    def begun(cls, size: int, opening: list[int], seed: int) -> "Going":
        return cls(replay(size, opening), list(opening), seed)

    def play(self, point: int) -> None:
        self.position.play(point)
        self.moves.append(point)


class Player(Protocol):
    """Takes part in games; asked for the moves of many games at once."""

    name: str

    def moves(self, games: list[Going]) -> list[int | None]:
        """A legal move for each game; None where it has none to offer."""
        ...


class DrawnMoves:
    """Moves of a model that draws the next frame, read from its pixels; nothing is tried twice."""

    def __init__(self, *, model: Any, source: Any, temperature: float, batch_size: int) -> None:
        self.model, self.source = model, source
        self.temperature, self.batch_size = temperature, batch_size

    def __call__(self, boards: np.ndarray, *, seed: int, replaced: tuple[int, ...] = ()) -> Answers:
        parts = []
        for start in range(0, len(boards), self.batch_size):
            before = boards[start : start + self.batch_size]
            generator = torch.Generator(self.model.device).manual_seed(mix(seed, start))
            context = Clip(video=self.draw(before)[:, None])
            step = self.model.next_frame(context, generator, temperature=self.temperature, replaced=replaced)
            frames, reader = step.frames[:, 0].cpu(), self.source.reader
            parts.append(Answers(reader.new_stone(before, frames), reader.boards(frames), frames, step.codes))
        written = [part.codes for part in parts if part.codes is not None]
        return Answers(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.boards for part in parts if part.boards is not None]),
            torch.cat([part.frames for part in parts if part.frames is not None]),
            torch.cat(written) if written else None,
        )

    def imagine(self, boards: np.ndarray, codes: Int[Tensor, "n m"]) -> np.ndarray:
        """What codes say comes next, read from the frames they are decoded to: int8 (n, h, size, size)."""
        parts = []
        for start in range(0, len(boards), self.batch_size):
            part = slice(start, start + self.batch_size)
            video = self.model.imagine(self.draw(boards[part]), codes[part])
            read = self.source.reader.boards(video.flatten(0, 1).cpu())
            parts.append(read.reshape(*video.shape[:2], *boards.shape[1:]))
        return np.concatenate(parts)

    def draw(self, boards: np.ndarray) -> Float[Tensor, "n 3 h w"]:
        """Boards as the model sees them."""
        return torch.from_numpy(self.source.renderer(boards)).to(self.model.device).float() / 255


class StatedMoves:
    """Moves of a model that is told the state and names its action."""

    def __init__(self, *, model: Any, source: Any, temperature: float, batch_size: int) -> None:
        self.model, self.source = model, source
        self.temperature, self.batch_size = temperature, batch_size

    def __call__(self, boards: np.ndarray, *, seed: int, replaced: tuple[int, ...] = ()) -> Answers:
        points = []
        for start in range(0, len(boards), self.batch_size):
            state = torch.from_numpy(boards[start : start + self.batch_size]).flatten(1).float()
            generator = torch.Generator(self.model.device).manual_seed(mix(seed, start))
            moves = self.model.moves(state.to(self.model.device), generator, temperature=self.temperature)
            points.append(moves.cpu().numpy())
        return Answers(np.concatenate(points))


def answering(model: Any, source: Any, *, temperature: float, batch_size: int) -> Answering:
    """How a model is asked.

    Raises ValueError, in one line, for a model that cannot be asked, and for clips that show no boards.
    """
    if not hasattr(source, "reader"):
        raise ValueError(f"{type(source).__name__} shows no boards; this needs a model trained on data=go")
    kinds: dict[str, Callable[..., Answering]] = {"next_frame": DrawnMoves, "moves": StatedMoves}
    for method, kind in kinds.items():
        if hasattr(model, method):
            return kind(model=model, source=source, temperature=temperature, batch_size=batch_size)
    told = f"{type(model).__name__} has no `next_frame` and no `moves`"
    raise ValueError(f"{told}; recipe=videoworld has")


class ModelPlayer:
    """A model as a player: it sees itself as Black, and has one try a move.

    No new stone is a pass where the opponent has just passed; otherwise, as a stone that may not stand there,
    it is no move at all.
    """

    def __init__(self, *, name: str, answer: Answering) -> None:
        self.name, self.answer = name, answer

    def moves(self, games: list[Going]) -> list[int | None]:
        positions = [game.position for game in games]
        boards = [p.board if p.black_to_move else SWAPPED[p.board] for p in positions]
        points = self.answer(np.stack(boards), seed=mix(games[0].seed, positions[0].ply)).points
        return [_legal(game, int(point)) for game, point in zip(games, points, strict=True)]


class NoisyGnuGo:
    """GNU Go that plays a random legal move instead, with probability `epsilon`; 1 needs no engine.

    Each move is a function of the game's seed and the moves before, so it does not matter which games are
    played and in what order.
    """

    def __init__(self, *, engine: GnuGo | None, epsilon: float) -> None:
        self.engine, self.epsilon, self.name = engine, epsilon, rung_name(epsilon)

    def moves(self, games: list[Going]) -> list[int | None]:
        return [self._move(game) for game in games]

    def _move(self, game: Going) -> int:
        position = game.position
        random = np.random.Generator(np.random.Philox(key=mix(game.seed, position.ply)))
        if self.engine is None or random.random() < self.epsilon:
            return random_move(position, random)
        show(self.engine, game.moves, game.seed)
        point = self.engine.choose(position.black_to_move)
        return point if point in position.legal() else position.size**2


def rung_name(epsilon: float) -> str:
    """What GNU Go with this share of random moves is called: gnugo, gnugo_30, random."""
    if epsilon == 1:
        return "random"
    return f"gnugo_{100 * epsilon:g}".replace(".", "_") if epsilon else "gnugo"


def random_move(position: Position, random: np.random.Generator) -> int:
    """Any legal move alike; a pass only where there is no other."""
    passing = position.size**2
    points = sorted(position.legal() - {passing})
    return points[random.integers(len(points))] if points else passing


def show(engine: GnuGo, moves: list[int], seed: int = 0) -> None:
    """Put an engine into the position after these moves."""
    engine.new_game(seed)
    for ply, point in enumerate(moves):
        engine.play(ply % 2 == 0, point)


def _legal(game: Going, point: int) -> int | None:
    """What a model's stone amounts to."""
    passing = game.position.size**2
    if point == NOWHERE:
        return passing if game.moves[-1:] == [passing] else None
    return point if point in game.position.legal() else None
