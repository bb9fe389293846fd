"""KataGo's opinion of a position: its network's policy, without search."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from datamodules import SourceError
from datamodules.go.gtp import Engine, vertex

NEEDED = ("KATAGO_BIN", "KATAGO_MODEL", "KATAGO_CONFIG")
HUMAN = "KATAGO_HUMAN_MODEL"  # a network that plays as people do; which ones, the config says
START = 300.0  # seconds; the first answer waits for the network to be loaded and tuned


def configured() -> bool:
    """Whether the environment names KataGo, its network and its config."""
    return all(os.environ.get(variable) for variable in NEEDED)


class KataGo:
    """A KataGo that is asked for policies; a context manager that ends its process.

    $KATAGO_BIN, $KATAGO_MODEL and $KATAGO_CONFIG say where it is; $KATAGO_HUMAN_MODEL may name a second net.

    Raises: SourceError, one line: a variable is not set or names no file, or the engine fails.
    """

    def __init__(self, *, size: int, komi: float = 5.5) -> None:
        paths = [os.environ.get(variable, "") for variable in NEEDED]
        for variable, path in zip(NEEDED, paths, strict=True):
            if not Path(path).is_file():
                told = f"names no file: {path}" if path else "is not set"
                raise SourceError(f"KataGo: ${variable} {told}; set {', '.join('$' + v for v in NEEDED)}")
        binary, model, config = paths
        human = ["-human-model", os.environ[HUMAN]] if os.environ.get(HUMAN) else []
        self.size, self.komi = size, komi
        self.engine = Engine([binary, "gtp", "-model", model, "-config", config, *human], timeout=START)
        self.engine.ask(f"boardsize {size}")
        self.engine.ask("kata-set-rules chinese")
        self.engine.ask(f"komi {komi:g}")

    def policy(self, moves: Sequence[int]) -> dict[int, float]:
        """Probability of every legal point, and of a pass, after these moves.

        Source: `kata-raw-nn`, one evaluation without a symmetry, the policy that the released code of
        VideoWorld compares moves by.
        """
        self.engine.ask("clear_board")
        for ply, point in enumerate(moves):
            self.engine.ask(f"play {'bw'[ply % 2]} {vertex(point, self.size)}")
        return read_policy(self.engine.ask("kata-raw-nn 0"), self.size)

    def __enter__(self) -> "KataGo":
        return self

    def __exit__(self, *error: object) -> None:
        self.engine.close()


def read_policy(answer: str, size: int) -> dict[int, float]:
    """The policy in an answer of `kata-raw-nn`: rows from the top, NAN where a move is not legal.

    Raises: SourceError, one line, for an answer without one.
    """
    lines = [line.split() for line in answer.splitlines()]
    try:
        start = lines.index(["policy"]) + 1
        points = [float(value) for row in lines[start : start + size] for value in row]
        passing = next(float(line[1]) for line in lines if line[:1] == ["policyPass"])
    except (ValueError, StopIteration) as error:
        raise SourceError(f"KataGo: no policy of a {size}x{size} board in its answer") from error
    if len(points) != size**2:
        raise SourceError(f"KataGo: a policy of {len(points)} points, for a board of {size}x{size}")
    return {point: p for point, p in enumerate([*points, passing]) if not math.isnan(p)}
