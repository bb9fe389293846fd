"""Go: is the board that a model draws next a legal move, a good one, and how strong a player is it."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics import MeanMetric

from checkpoints.build import build
from components.media import film_strip
from components.randomness import mix
from datamodules.held_out import spread
from evaluation.go_players import Answering, Answers, DrawnMoves, ModelPlayer, Player, answering, rung_name
from evaluation.go_positions import KnownPositions, at_random, held_out_positions, imagined, judged
from evaluation.go_ratings import hold_tournament
from recipes.stage import Stage

TEMPERATURES = {"greedy": 0.0, "sampled": 1.0}
REPLACED = 3  # codes that are replaced one at a time, as in the paper
SHOWN = 6  # positions in the picture
ALWAYS = ("legal", "no_move", "several_stones", "successor", "accuracy", "played_accuracy", "action_value")
INTERVENED = ("legal", "accuracy", "action_value")
Decoding = Literal["greedy", "sampled"]


class GoSuite:
    """Judge a model that draws boards, or one that is told them and names a move, on held-out positions.

    Every answer is the first one: nothing is tried twice. Each metric stands once a decoding, `legal_greedy`;
    what they are, evaluation.go_positions says. With `intervene`, three of them also for codes that gave way
    to random ones as they were written: `legal_greedy_replaced_0` for the first, `_replaced_all` for all.
    With `ratings`: rating_*, interval_*, failures_* of evaluation.go_ratings.

    positions, batch_size: of the test split. games: of each pair. opening: random plies that a game starts
    with, an even number. ladder: how often each opponent errs. others: more checkpoints to rate.
    Source: VideoWorld (arXiv 2501.09781), its experiments on Video-GoBench and on codes that are replaced.
    """

    def __init__(
        self,
        *,
        positions: int = 500,
        batch_size: int = 100,
        decodings: tuple[Decoding, ...] = ("greedy", "sampled"),
        intervene: bool = False,
        ratings: bool = False,
        games: int = 30,
        opening: int = 4,
        ladder: tuple[float, ...] = (0.0, 0.1, 0.3, 0.6, 1.0),
        others: tuple[str, ...] = (),
    ) -> None:
        if min(positions, batch_size, games, len(decodings), len(ladder)) < 1:
            raise ValueError("positions, batch_size, games, decodings and ladder: give at least 1 of each")
        if opening < 0 or opening % 2:
            raise ValueError(f"opening is {opening}; give an even number, then Black is to move")
        if not all(0 <= epsilon <= 1 for epsilon in ladder) or len({*ladder}) < len(ladder):
            raise ValueError(f"ladder is {list(ladder)}; give different shares of random moves, from 0 to 1")
        self.positions, self.batch_size, self.decodings = positions, batch_size, decodings
        self.intervene, self.ratings, self.others = intervene, ratings, others
        self.games, self.opening, self.ladder = games, opening, ladder
        self._notes: list[str] = []
        self._pictures: dict[str, UInt8[Tensor, "3 h w"]] = {}
        self._files: dict[str, str] = {}
        self._known: tuple[str, KnownPositions] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """What may be found; a model that draws nothing or writes no codes leaves some out."""
        names = [f"{metric}_{decoding}" for decoding in self.decodings for metric in ALWAYS]
        names += [f"{metric}_{d}" for d in self.decodings for metric in ("imagined_move", "imagined_reply")]
        if self.intervene:
            replaced = [*map(str, range(REPLACED)), "all"]
            names += [f"{m}_{d}_replaced_{r}" for d in self.decodings for r in replaced for m in INTERVENED]
        if self.ratings:
            rated = [*self.decodings, *map(rung_name, self.ladder)]
            names += [f"{metric}_{name}" for metric in ("rating", "interval") for name in rated]
            names += ["first_move", *(f"failures_{decoding}" for decoding in self.decodings)]
        return tuple(names)

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        config = model.hparams
        source = build(config["data"])
        asked = self._asked(model, source)
        known = self._positions(config)
        found: dict[str, Float[Tensor, " n"]] = {}
        first: dict[str, Answers] = {}
        for decoding, ask in asked.items():
            first[decoding] = answers = ask(known.boards, seed=config["seed"])
            judgements = judged(known, answers)
            if answers.codes is not None and isinstance(ask, DrawnMoves):
                judgements |= imagined(known, ask.imagine(known.boards, answers.codes))
            found |= {f"{name}_{decoding}": values for name, values in judgements.items()}
            if self.intervene and answers.codes is not None:
                for name, replaced in replacements(answers.codes.shape[1]).items():
                    others = judged(known, ask(known.boards, seed=config["seed"], replaced=replaced))
                    found |= {f"{m}_{decoding}_replaced_{name}": others[m] for m in INTERVENED if m in others}
        means = {name: _mean(values) for name, values in found.items()}
        most = 0.5 / len(known.placed) ** 0.5
        self._notes = [
            *known.notes,
            f"the standard error of each share is at most {most:.2g}; see positions.md",
        ]
        if self.intervene and all(answers.codes is None for answers in first.values()):
            self._notes.append("intervene: this model writes no codes, there is nothing to replace")
        self._pictures, self._files = _film(known, source, first), {"positions.md": _table(found)}
        if self.ratings:
            means |= self._rate(asked, source, config["seed"])
        return means

    def chance(self, config: dict[str, Any]) -> dict[str, float]:
        """What a legal stone put down at random comes to."""
        found = {name: _mean(values) for name, values in at_random(self._positions(config)).items()}
        return {f"{name}_{decoding}": value for decoding in self.decodings for name, value in found.items()}

    def notes(self) -> list[str]:
        return self._notes

    def pictures(self) -> dict[str, UInt8[Tensor, "3 h w"]]:
        return self._pictures

    def files(self) -> dict[str, str]:
        return self._files

    def _asked(self, model: Any, source: Any) -> dict[Decoding, Answering]:
        return {
            d: answering(model, source, temperature=TEMPERATURES[d], batch_size=self.batch_size)
            for d in self.decodings
        }

    def _positions(self, config: dict[str, Any]) -> KnownPositions:
        """Found once for a data source: it may take engines a minute."""
        key = json.dumps(config["data"], sort_keys=True, default=str)
        if self._known is None or self._known[0] != key:
            self._known = key, held_out_positions(build(config["data"]), self.positions)
        return self._known[1]

    def _rate(self, asked: dict[Decoding, Answering], source: Any, seed: int) -> dict[str, float]:
        """Ratings of the model and of the other checkpoints, one player a decoding."""
        players: list[Player] = [ModelPlayer(name=decoding, answer=ask) for decoding, ask in asked.items()]
        for number, path in enumerate(self.others, 1):
            model: Any = Stage.load(Path(path))
            own = build(model.hparams["data"])
            others = self._asked(model, own)
            if own.size != source.size:
                told = f"{path} plays on {own.size}x{own.size}"
                raise ValueError(f"{told}, the model on {source.size}x{source.size}")
            players += [ModelPlayer(name=f"other_{number}_{d}", answer=ask) for d, ask in others.items()]
            self._notes.append(f"other_{number} is {path}")
        standings = hold_tournament(
            players,
            epsilons=self.ladder,
            size=source.size,
            games=self.games,
            opening=self.opening,
            seed=mix(seed, 1),
        )
        self._notes += standings.notes
        self._pictures |= standings.pictures(source.renderer)
        self._files |= standings.files()
        return standings.values()


def replacements(num_codes: int) -> dict[str, tuple[int, ...]]:
    """Which codes give way to random ones, by the name it is told under."""
    one = {str(index): (index,) for index in range(min(REPLACED, num_codes))}
    return one | {"all": tuple(range(num_codes))}


def _mean(values: Float[Tensor, " n"]) -> float:
    mean = MeanMetric()
    mean.update(values)
    return float(mean.compute())


def _table(found: dict[str, Float[Tensor, " n"]]) -> str:
    """Markdown: each metric with its standard error."""
    lines = ["| metric | mean | standard error |", "|---|---|---|"]
    for name, values in found.items():
        error = float(values.std(correction=0)) / len(values) ** 0.5
        lines.append(f"| {name} | {_mean(values):.4f} | {error:.4f} |")
    return "\n".join(lines) + "\n"


def _film(known: KnownPositions, source: Any, first: dict[str, Answers]) -> dict[str, UInt8[Tensor, "3 h w"]]:
    """Some positions with the annotator's move and the frames that were drawn."""
    rows, drawn = [], {name: answers.frames for name, answers in first.items() if answers.frames is not None}
    before = known.boards
    for i in spread(len(known.placed), SHOWN):
        placed = known.placed[i]
        after = placed.position.child(placed.line[0]).board
        boards = torch.as_tensor(source.renderer(np.stack([before[i], after])))
        frames = [frame[i].mul(255).round().clamp(0, 255).byte()[None] for frame in drawn.values()]
        label = ", ".join(["board", "annotator", *drawn])
        rows.append((label, torch.cat([boards, *frames])))
    return {"positions": film_strip(rows, context_frames=2)}
