"""Ratings of models at the Go board, against GNU Go that errs more and more often."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from components.media import film_strip
from components.metrics.bradley_terry import Ratings
from datamodules import SourceError
from datamodules.go.games import Game
from datamodules.go.gnugo import GnuGo
from datamodules.go.sgf import to_sgf
from evaluation.go_players import Going, NoisyGnuGo, Player, show
from evaluation.go_tournament import Finished, Tournament

SHOWN = 6  # final boards of each pair in the picture


@dataclass
class Standings:
    """Everything that a tournament found."""

    names: list[str]
    num_models: int
    games: list[Finished]
    ratings: Ratings
    notes: list[str]

    def values(self) -> dict[str, float]:
        """rating_*: Elo points above the anchor. interval_*: half of the 95 % interval.

        first_move: what Black's first move is worth. failures_*: share of a model's turns without legal move.
        """
        found = {}
        for i, name in enumerate(self.names):
            found[f"rating_{name}"] = float(self.ratings.ratings[i])
            found[f"interval_{name}"] = float(self.ratings.intervals[i])
        if math.isfinite(first_move := float(self.ratings.first_move)):
            found["first_move"] = first_move
        for i, name in enumerate(self.names[: self.num_models]):
            own = [game for game in self.games if game.black == i]
            turns = sum(game.turns[0] for game in own)
            found[f"failures_{name}"] = sum(game.failures[0] for game in own) / max(turns, 1)
        return found

    def table(self) -> str:
        """Markdown: ratings, best first, and how many points each took from each other."""
        n = len(self.names)
        points, played = np.zeros((n, n)), np.zeros((n, n), dtype=int)
        for game in self.games:
            won = (np.sign(game.margin) + 1) / 2
            points[game.black, game.white] += won
            points[game.white, game.black] += 1 - won
            played[game.black, game.white] += 1
            played[game.white, game.black] += 1
        order = self.ratings.ratings.argsort(descending=True).tolist()
        lines = ["| player | Elo | 95 % | games | " + " | ".join(self.names[j] for j in order) + " |"]
        lines.append("|---" * (4 + n) + "|")
        for i in order:
            rating, interval = float(self.ratings.ratings[i]), float(self.ratings.intervals[i])
            cells = [f"{points[i, j]:g}/{played[i, j]}" if played[i, j] else "" for j in order]
            told = f"| {self.names[i]} | {rating:.0f} | ±{interval:.0f} | {played[i].sum()} | "
            lines.append(told + " | ".join(cells) + " |")
        return "\n".join([*lines, "", *(f"* {note}" for note in self.notes)]) + "\n"

    def files(self) -> dict[str, str]:
        """The table, and every game as SGF."""
        found = {"ratings.md": self.table()}
        numbers: Counter[tuple[str, str]] = Counter()
        for game in self.games:
            black, white = self.names[game.black], self.names[game.white]
            numbers[black, white] += 1
            name = f"games/{black}-{white}-{numbers[black, white]:02}"
            played = Game(size=game.position.size, moves=game.moves, opening=game.opening, id=name)
            found[f"{name}.sgf"] = to_sgf(played, (black, white), game.result)
        return found

    def pictures(self, renderer: Any) -> dict[str, UInt8[Tensor, "3 h w"]]:
        """Ratings with intervals, and how games of the models ended."""
        rows = []
        for i in range(self.num_models):
            for j in range(self.num_models, len(self.names)):
                boards = [g.position.board for g in self.games if (g.black, g.white) == (i, j)][:SHOWN]
                label = f"{self.names[i]} (black), {self.names[j]} (white)"
                rows.append((label, torch.as_tensor(renderer(np.stack(boards)))))
        return {
            "ratings": draw_ratings(self.names, self.ratings),
            "final_boards": film_strip(rows, context_frames=SHOWN),
        }


def hold_tournament(
    models: list[Player], *, epsilons: tuple[float, ...], size: int, games: int, opening: int, seed: int
) -> Standings:
    """Let models and ladder play, and rate them.

    Without GNU Go the ladder is the random mover alone, which is then the anchor.
    Raises: ValueError where no rung is left.
    """
    notes = []
    try:
        engine = GnuGo(size=size)
    except SourceError as error:
        engine, epsilons = None, tuple(epsilon for epsilon in epsilons if epsilon == 1)
        notes.append(f"{error}; without it the ladder is the random mover alone")
        if not epsilons:
            raise ValueError(f"{error}; or give suite.ladder=[1.0], which needs no engine") from error
    ladder: list[Player] = [NoisyGnuGo(engine=engine, epsilon=epsilon) for epsilon in epsilons]
    try:
        tournament = Tournament(
            models=models,
            ladder=ladder,
            size=size,
            games=games,
            opening=opening,
            seed=seed,
            referee=_referee(engine),
        )
        finished = tournament.play()
    finally:
        if engine is not None:
            engine.close()
    anchor = len(models) + min(range(len(epsilons)), key=epsilons.__getitem__)
    ratings = tournament.rate(finished, anchor)
    names = [player.name for player in tournament.players]
    notes.append(f"ratings: Elo points above {names[anchor]}, {games} games a pair; models play Black only")
    notes.append("ratings: GNU Go counts the games it plays, the others count as the board stands")
    if ratings.prior:
        told = "someone won or lost every game that ties them to the others; each pair was given"
        notes.append(f"ratings: {told} one drawn game more, so their distance is a lower bound")
    if not math.isfinite(float(ratings.first_move)):
        notes.append("ratings: moving first counts as strength, no pair met in both colours")
    return Standings(names, len(models), finished, ratings, notes)


def _referee(engine: GnuGo | None) -> Callable[[Going, Player, Player], float]:
    """GNU Go counts the games it plays, since it passes as soon as it knows which stones are dead.

    Where it does not play, the area counts as the board stands: stones that nobody took live. Else a model
    that only passes would win against a random mover that fills its own eyes.
    """

    def margin(game: Going, black: Player, white: Player) -> float:
        knows = any(isinstance(player, NoisyGnuGo) and player.epsilon < 1 for player in (black, white))
        if engine is None or not knows:
            return game.position.score()
        show(engine, game.moves, game.seed)
        return engine.score()

    return margin


def draw_ratings(names: list[str], ratings: Ratings) -> UInt8[Tensor, "3 h w"]:
    """A dot and its interval a player, best at the top."""
    from matplotlib.figure import Figure

    from evaluation.curves import as_image

    figure = Figure(figsize=(6, 1 + 0.4 * len(names)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    order = ratings.ratings.argsort().tolist()
    axes.errorbar(
        ratings.ratings[order].tolist(),
        range(len(order)),
        xerr=ratings.intervals[order].tolist(),
        fmt="o",
        capsize=3,
    )
    axes.set(yticks=range(len(order)), yticklabels=[names[i] for i in order], xlabel="Elo, 95 % intervals")
    axes.grid(alpha=0.3)
    return as_image(figure)
