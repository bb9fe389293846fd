"""Clips of Go: a board with Black to move, and the boards after the moves that should follow."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int8, UInt64
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.go.games import Game, positions, spell
from datamodules.go.library import Annotator, Played, find_games, split_of
from datamodules.go.read import BoardReader
from datamodules.go.render import Renderer
from datamodules.go.rules import Position, name, replay
from datamodules.go.symmetries import SYMMETRIES, destinations, permutations, prints

FRAMES_PER_SECOND = 1.0

log = logging.getLogger("datamodules")


@dataclass(frozen=True)
class Placed:
    """A position of a game: moves led to it, line should follow, values are those of Black's moves."""

    position: Position
    moves: list[int]
    line: list[int]
    values: dict[int, float]
    game: str
    ply: int


class GoVideos:
    """A ClipSource of Go boards: a position with Black to move, then the board after each move of its line.

    Games are split by a hash of their ids, 90 % train and 5 % each val and test. Of val and test only boards
    are kept that occur in no training game and in no line that is learned, turned or mirrored, and each of
    them once. Black alone is learned, and opening moves are context only (VideoWorld, arXiv 2501.09781).

    Clip: video (t, 3, h, w); state (t, size**2) float32, the boards: 0 empty, 1 black, 2 white; actions
    (t-1, 1) float32, the points played. Where a line ends, the last frame is repeated and the action is a
    pass; a pass of the line itself looks the same. id is go/GAME/PLY/SYMMETRY.

    Args:
        games: shipped, a file of games, or SGF: a file, a folder or a glob.
        size: points along a side.
        cell: pixels from line to line; see Renderer.
        symmetries: training positions also turned and mirrored, 8 clips of each.
        targets: what follows, the annotator's moves or those that were played.
        annotations: a file of lines by GNU Go for these games; those that it lacks are made and added.
        count: of games; those that the file does not hold are played by GNU Go and added to it. None = all.
        level, annotator_level: of GNU Go, the players' of new games and the annotator's.
        engines: processes of GNU Go.

    renderer, reader: boards to frames and back. Raises: SourceError.
    """

    def __init__(
        self,
        *,
        games: str,
        size: int,
        num_frames: int,
        height: int,
        width: int,
        cell: int,
        seed: int,
        symmetries: bool = True,
        targets: Literal["annotated", "played"] = "annotated",
        annotations: str | None = None,
        count: int | None = None,
        level: int = 0,
        annotator_level: int = 5,
        engines: int = 1,
    ) -> None:
        if num_frames < 2 or height != width:
            raise SourceError(
                f"go: {num_frames} frames of {height}x{width}; give at least 2 frames, as high as wide"
            )
        if not 2 <= size <= 19:
            raise SourceError(f"go: a board of {size}x{size} points; give a size of 2 to 19")
        if (count is not None and count < 1) or engines < 1:
            raise SourceError(f"go: {count} games by {engines} engines; give at least 1 of each")
        self.games, self.size, self.num_frames = games, size, num_frames
        self.height, self.width, self.cell = height, width, cell
        self.symmetries, self.targets = symmetries, targets
        self.annotator = None if annotations is None else Annotator(annotations, annotator_level, engines)
        self.renderer = Renderer(size=size, side=height, cell=cell)
        self.reader = BoardReader(self.renderer)
        self._played = None if count is None else Played(count, level, annotator_level, seed, engines)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of each value that an action has."""
        return tuple(name(point, self.size) for point in range(self.size**2 + 1))

    def spec(self) -> ClipSpec:
        return ClipSpec(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            action_dim=1,
            state_dim=self.size**2,
            action_names=("point",),
            state_names=self.action_names[:-1],
        )

    def settings(self) -> dict[str, Any]:
        """All that decides what clips look like, but for the games, of which the clips' keys tell."""
        return {key: getattr(self, key) for key in ("size", "num_frames", "height", "width", "cell")}

    def split(self, name: Split) -> "GoClips":
        """The clips of one split as a map-style data set. Raises: SourceError where it has none."""
        return GoClips(self, name)

    @cached_property
    def known(self) -> dict[Split, list[tuple[Game, int]]]:
        """Split -> every (game, ply) whose line is known."""
        games = find_games(self.games, self.size, self._played, self.annotator)
        known: dict[Split, list[tuple[Game, int]]] = {"train": [], "val": [], "test": []}
        for game, ply in positions(games):
            if self.targets == "played" or game.lines.get(ply):
                known[split_of(game)].append((game, ply))
        for split, places in known.items():
            if not places:
                told = f"data.games={self.games}: {len(games)} games have no {self.targets} moves for {split}"
                missing = "set data.targets=played, or data.annotations=FILE.jsonl for GNU Go's lines"
                advice = "give more games" if any(known.values()) else missing
                raise SourceError(f"{told}; {advice}")
        return known

    @cached_property
    def seen(self) -> UInt64[np.ndarray, " n"]:
        """Prints of all boards of training games, and of their lines where these are learned."""
        boards = []
        for game in {id(game): game for game, _ in self.known["train"]}.values():
            position = Position(self.size)
            for ply, point in enumerate(game.moves):
                if self.targets == "annotated" and ply in game.lines:
                    boards += _along(position.copy(), game.lines[ply], game)
                boards += _along(position, [point], game)
        return np.unique(prints(np.stack(boards)))


class GoClips(Dataset):
    """One split of GoVideos; index is position * 8 + symmetry where positions are turned and mirrored.

    places: (game, ply) of each position. left_out: positions of val and test whose board training has seen,
    or which came before in this split.
    """

    def __init__(self, source: GoVideos, split: Split) -> None:
        self.size, self.num_frames, self.targets = source.size, source.num_frames, source.targets
        self.renderer = source.renderer
        self.symmetries = SYMMETRIES if source.symmetries and split == "train" else 1
        self._turned, self._goes = permutations(self.size), destinations(self.size)
        self.places = source.known[split]
        self.left_out = 0
        if split != "train":
            self.places = _unseen(self.places, source.seen)
            self.left_out = len(source.known[split]) - len(self.places)
            log.info(
                "go: %s: %d positions on new boards, %d left out", split, len(self.places), self.left_out
            )
            if not self.places:
                raise SourceError(
                    f"data.games={source.games}: training has seen all {self.left_out} boards of {split}; "
                    "give more games"
                )

    def __len__(self) -> int:
        return len(self.places) * self.symmetries

    def __getitem__(self, index: int) -> dict[str, Any]:
        game, ply, line, symmetry = self._found(index)
        moves = line[: self.num_frames - 1]
        boards = np.stack(_along(_at(game, ply), moves, game))
        frames = np.arange(self.num_frames).clip(max=len(moves))
        state = boards.reshape(len(boards), -1)[frames][:, self._turned[symmetry]]
        passes = [self.size**2] * (self.num_frames - 1 - len(moves))
        actions = self._goes[symmetry][[*moves, *passes]]
        return dict(
            video=torch.from_numpy(self.renderer(state.reshape(-1, self.size, self.size))),
            state=torch.from_numpy(state.astype(np.float32)),
            actions=torch.from_numpy(actions.astype(np.float32))[:, None],
            fps=torch.tensor(FRAMES_PER_SECOND),
            id=self.name_of(index),
        )

    def name_of(self, index: int) -> str:
        game, ply, _, symmetry = self._found(index)
        return f"go/{game.id}/{ply}/{symmetry}"

    def key_of(self, index: int) -> str:
        """Names the clip and tells its moves, so that games made anew are other clips."""
        game, ply, line, _ = self._found(index)
        moves = spell(game.moves[:ply], self.size), spell(line[: self.num_frames - 1], self.size)
        return " ".join((self.name_of(index), *moves))

    def position(self, index: int) -> Placed:
        """The position of a clip with its history, as it was played: neither turned nor mirrored."""
        game, ply, line, _ = self._found(index)
        values = game.values.get(ply, {})
        return Placed(_at(game, ply), game.moves[:ply], line, values, game.id, ply)

    def _found(self, index: int) -> tuple[Game, int, list[int], int]:
        """Game, ply, line and symmetry of a clip."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place, symmetry = divmod(index, self.symmetries)
        game, ply = self.places[place]
        line = game.moves[ply:] if self.targets == "played" else game.lines[ply]
        return game, ply, line, symmetry


def _at(game: Game, ply: int) -> Position:
    try:
        return replay(game.size, game.moves[:ply])
    except ValueError as error:
        raise SourceError(f"go: game {game.id}: {error}; take the game out") from error


def _along(position: Position, moves: list[int], game: Game) -> list[Int8[np.ndarray, "s s"]]:
    """The board of a position and those after each of the moves, which are played on it."""
    boards = [position.board]
    try:
        for point in moves:
            position.play(point)
            boards.append(position.board)
    except ValueError as error:
        raise SourceError(f"go: game {game.id}, ply {position.ply}: {error}; take the game out") from error
    return boards


def _unseen(places: list[tuple[Game, int]], seen: UInt64[np.ndarray, " n"]) -> list[tuple[Game, int]]:
    """Places on boards that are not among the prints, the first one on each board."""
    found = prints(np.stack([_at(game, ply).board for game, ply in places]))
    new, first = np.unique(found, return_index=True)
    return [places[i] for i in sorted(first[~np.isin(new, seen)])]
