"""Test positions with Black to move, what a move is worth there, and what a model's answers come to."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datamodules import SourceError
from datamodules.go.gnugo import GnuGo
from datamodules.go.katago import KataGo, configured
from datamodules.go.rules import BLACK, WHITE, Position
from datamodules.held_out import spread
from evaluation.go_players import Answers, show

Worth = dict[int, float]  # of a point: 1 is the best move's, 0 no move's


@dataclass
class KnownPositions:
    """Positions of held-out games, spread evenly over the test split.

    placed: as the data set tells of them; the annotator puts a stone in each. played: what was played there.
    worth: of moves in each, points not named are worth 0; {} where nothing is known. notes: for the reader.
    """

    placed: list[Any]
    played: list[int]
    worth: list[Worth]
    notes: list[str] = field(default_factory=list)

    @property
    def boards(self) -> np.ndarray:
        return np.stack([placed.position.board for placed in self.placed])


def held_out_positions(source: Any, count: int) -> KnownPositions:
    """Up to `count` positions of a source's test split."""
    dataset = source.split("test")
    placed = {i: dataset.position(i) for i in spread(len(dataset), count)}
    stones = {i: one for i, one in placed.items() if one.line[0] != source.size**2}
    if not stones:
        raise ValueError("the test split has no position in which the annotator puts a stone")
    worth, note = _worth([*stones.values()], source.size)
    notes = [note, f"{len(stones)} test positions of held-out games, on boards that training has not seen"]
    if len(stones) < len(placed):
        notes.append(f"{len(placed) - len(stones)} positions in which the annotator passes were left out")
    played = [game.moves[ply] for game, ply in (dataset.places[i] for i in stones)]
    return KnownPositions([*stones.values()], played, worth, notes)


def _worth(placed: list[Any], size: int) -> tuple[list[Worth], str]:
    """Of each position, by KataGo where it is configured, else by GNU Go; and which of them it was."""
    if configured():
        with KataGo(size=size) as katago:
            policies = [katago.policy(one.moves) for one in placed]
        note = "action_value: KataGo's policy of the move over its largest"
        return [_share(policy, size) for policy in policies], note
    found = [dict(one.values) for one in placed]
    missing = [i for i, values in enumerate(found) if not values]
    note = "action_value: GNU Go's value of the move over its best move's"
    if missing:
        try:
            with GnuGo(size=size) as engine:
                for i in missing:
                    show(engine, placed[i].moves)
                    found[i] = engine.values(True)
        except SourceError as error:
            note += f"; {len(missing)} positions have no values ({error})"
    return [_share(values, size) for values in found], note


def _share(values: Worth, size: int) -> Worth:
    """Values as shares of the best one; no move is worth less than nothing."""
    values = {point: value for point, value in values.items() if point < size**2}
    best = max(values.values(), default=0.0)
    return {point: max(0.0, value) / best for point, value in values.items()} if best > 0 else {}


def judged(known: KnownPositions, answers: Answers) -> dict[str, Float[Tensor, " n"]]:
    """What each answer came to, from 0 to 1, by metric.

    legal: there is a new stone and it may stand there. no_move: there is no new stone, or a pass.
    accuracy: the stone is where the annotator puts it. played_accuracy: where it was put in the game.
    action_value: what it is worth.
    several_stones: more than one new black stone. successor: the whole board is what follows from the stone.
    """
    points, placed = answers.points.tolist(), known.placed
    legal = [point in one.position.legal() for point, one in zip(points, placed, strict=True)]
    stone = [0 <= point < one.position.size**2 for point, one in zip(points, placed, strict=True)]
    found: dict[str, list[float]] = {
        "legal": [a and b for a, b in zip(legal, stone, strict=True)],
        "no_move": [not there for there in stone],
    }
    if answers.boards is not None:
        new = (answers.boards == BLACK) & (known.boards != BLACK)
        found["several_stones"] = (new.sum((1, 2)) > 1).tolist()
        found["successor"] = [
            move_to(one.position, board) is not None
            for one, board in zip(placed, answers.boards, strict=True)
        ]
    found["accuracy"] = [point == one.line[0] for point, one in zip(points, placed, strict=True)]
    found["played_accuracy"] = [point == there for point, there in zip(points, known.played, strict=True)]
    shares = {name: torch.tensor(values, dtype=torch.float32) for name, values in found.items()}
    if values := [worth.get(p, 0.0) for p, worth in zip(points, known.worth, strict=True) if worth]:
        shares["action_value"] = torch.tensor(values)
    return shares


def at_random(known: KnownPositions) -> dict[str, Float[Tensor, " n"]]:
    """What a legal stone put down at random comes to."""
    moves = [sorted(one.position.legal() - {one.position.size**2}) for one in known.placed]
    hit = [1 / len(points) for points in moves]
    certain, never = torch.ones(len(hit)), torch.zeros(len(hit))
    found = {"legal": certain, "no_move": never, "several_stones": never, "successor": certain}
    found["accuracy"] = torch.tensor(hit)
    found["played_accuracy"] = torch.tensor(
        [here * (there in points) for here, there, points in zip(hit, known.played, moves, strict=True)]
    )
    values = [
        sum(worth.get(p, 0.0) for p in points) / len(points)
        for points, worth in zip(moves, known.worth, strict=True)
        if worth
    ]
    return found | ({"action_value": torch.tensor(values)} if values else {})


def imagined(known: KnownPositions, boards: np.ndarray) -> dict[str, Float[Tensor, " _"]]:
    """What imagined boards (n, h, s, s) come to.

    imagined_move: the first is a legal successor. imagined_reply: so it is, and the second follows from it by
    a legal stone of White's; of the positions whose line has one there.
    """
    moved, replied = [], []
    for one, (first, *later) in zip(known.placed, boards, strict=True):
        move = move_to(one.position, first)
        moved.append(float(move is not None))
        if later and one.line[1:2] not in ([], [one.position.size**2]):
            reply = None if move is None else move_to(one.position.child(move), later[0])
            replied.append(float(reply is not None))
    found = {"imagined_move": torch.tensor(moved)}
    return found | ({"imagined_reply": torch.tensor(replied)} if replied else {})


def move_to(position: Position, board: np.ndarray) -> int | None:
    """The one stone that leads from a position to exactly this board; None where there is none."""
    colour = BLACK if position.black_to_move else WHITE
    new = np.flatnonzero((board == colour) & (position.board != colour))
    if len(new) != 1 or int(new[0]) not in position.legal():
        return None
    return int(new[0]) if np.array_equal(position.child(int(new[0])).board, board) else None
