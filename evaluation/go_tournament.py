"""A round robin at the Go board: models against a ladder of opponents, all games of a pair in lock step."""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from rich.progress import track

from components.metrics.bradley_terry import BradleyTerry, Ratings
from components.randomness import mix
from datamodules.go.rules import Position
from evaluation.go_players import Going, Player, random_move

LONGEST = 2  # plies of a game, in points of the board; then it is scored as it stands


@dataclass
class Finished:
    """A game that was played. black, white: places in the list of players.

    margin: Black's points minus White's minus komi. failures: turns of each colour without a legal move.
    turns: of each colour.
    """

    black: int
    white: int
    moves: list[int]
    opening: int
    position: Position
    margin: float
    failures: tuple[int, int]
    turns: tuple[int, int]

    @property
    def result(self) -> str:
        """As SGF has it: "B+3.5"."""
        return f"{'B' if self.margin > 0 else 'W'}+{abs(self.margin):g}" if self.margin else "0"


class Tournament:
    """Who plays whom, and what came of it.

    Each model is Black against each rung of the ladder, as it learned it; models never meet each other, and
    rungs meet in both colours. A game starts after `opening` random legal plies, without which all games of
    players that always answer alike would be one; the openings are the same for all pairs, and for the two
    games between which a pair changes colours.

    referee: Black's margin in a finished game, given who played it.
    """

    def __init__(
        self,
        *,
        models: list[Player],
        ladder: list[Player],
        size: int,
        games: int,
        opening: int,
        seed: int,
        referee: Callable[[Going, Player, Player], float],
    ) -> None:
        self.players, self.num_models = [*models, *ladder], len(models)
        self.size, self.games, self.opening, self.seed, self.referee = size, games, opening, seed, referee

    def pairs(self) -> list[tuple[int, int]]:
        """Places of those who meet, the first of them Black in every game or in every other."""
        n = len(self.players)
        return [(i, j) for i in range(n) for j in range(max(i + 1, self.num_models), n)]

    def play(self) -> list[Finished]:
        """All games of all pairs."""
        finished = []
        for pair in track(self.pairs(), description="games of each pair", transient=True):
            both = pair[0] >= self.num_models
            for swapped in (False, True) if both else (False,):
                numbers = range(int(swapped), self.games, 2 if both else 1)
                black, white = reversed(pair) if swapped else pair
                finished += self._play(black, white, numbers, both)
        return finished

    def _play(self, black: int, white: int, numbers: range, both: bool) -> list[Finished]:
        """Games of one pair in one colouring, all at once."""
        games, starts = [], []
        # by name, so that a pair plays the same games whoever else takes part
        names = [crc32(self.players[i].name.encode()) for i in (black, white)]
        for number in numbers:
            start = self._opening(number // 2 if both else number)
            starts.append(len(start))
            games.append(Going.begun(self.size, start, mix(self.seed, *names, number)))
        failures = np.zeros((len(games), 2), dtype=int)
        turns = np.zeros((len(games), 2), dtype=int)
        for ply in range(self.opening, LONGEST * self.size**2):
            colour = ply % 2
            going = [i for i, game in enumerate(games) if not game.position.over]
            if not going:
                break
            player = self.players[(black, white)[colour]]
            for i, point in zip(going, player.moves([games[i] for i in going]), strict=True):
                turns[i, colour] += 1
                failures[i, colour] += point is None
                games[i].play(self.size**2 if point is None else point)
        return [
            Finished(
                black,
                white,
                game.moves,
                start,
                game.position,
                self.referee(game, self.players[black], self.players[white]),
                (int(failures[i, 0]), int(failures[i, 1])),
                (int(turns[i, 0]), int(turns[i, 1])),
            )
            for i, (game, start) in enumerate(zip(games, starts, strict=True))
        ]

    def _opening(self, number: int) -> list[int]:
        """Random legal plies, no passes while there is a choice."""
        random = np.random.Generator(np.random.Philox(key=mix(self.seed, number)))
        game = Going.begun(self.size, [], 0)
        for _ in range(self.opening):
            game.play(random_move(game.position, random))
        return game.moves

    def rate(self, finished: list[Finished], anchor: int) -> Ratings:
        """Bradley-Terry ratings of the players."""
        metric = BradleyTerry(players=len(self.players), anchor=anchor)
        margins = torch.tensor([game.margin for game in finished], dtype=torch.float64)
        metric.update(
            torch.tensor([game.black for game in finished]),
            torch.tensor([game.white for game in finished]),
            (margins.sign() + 1) / 2,
        )
        return metric.compute()
