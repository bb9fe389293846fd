"""Games that nobody would play: random legal moves, with random lines and values."""

import random
from pathlib import Path

from datamodules.go.games import Game, write_games
from datamodules.go.rules import Position


def random_game(seed: int, *, size: int = 5, plies: int = 12, opening: int = 4, line: int = 5) -> Game:
    rng, position, moves, lines, values = random.Random(seed), Position(size), [], {}, {}
    for ply in range(plies):
        if position.black_to_move and ply >= opening:
            branch, answers = position, []
            for _ in range(line):
                answers.append(_move(rng, branch))
                branch = branch.child(answers[-1])
            lines[ply] = answers
            values[ply] = {point: rng.randrange(100) / 4 for point in sorted(position.legal())[:3]}
        moves.append(_move(rng, position))
        position.play(moves[-1])
    return Game(size, moves, opening, lines, values, f"random{seed}")


def write_random_games(path: Path, count: int, **options: int) -> list[Game]:
    games = [random_game(seed, **options) for seed in range(count)]
    write_games(path, games, {"made": "at random, for tests"})
    return games


def _move(rng: random.Random, position: Position) -> int:
    return rng.choice(sorted(position.legal() - {position.size**2}) or [position.size**2])
