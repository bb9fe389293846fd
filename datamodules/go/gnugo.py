"""GNU Go, over GTP: player, annotator and judge on boards from 5x5 to 19x19."""

import os
import shutil

from datamodules.go.gtp import Engine, EngineError, point_at, vertex

VARIABLE = "GNUGO"  # of the environment: where the program is
GAMES_FOLDERS = os.pathsep.join(("/usr/games", "/usr/local/games"))  # often not on PATH


class GnuGo(Engine):
    """GNU Go 3.8 under Chinese rules: area scoring, simple ko, no suicide; it never resigns.

    It answers the same to the same commands after `new_game` with the same seed.

    Args:
        path: the program; None: $GNUGO, else on PATH, else in /usr/games.
        level: 0 (quick) to 10; on small boards a higher one is hardly stronger.
        timeout: seconds for a move.

    Raises: EngineError with the line that installs it, where it is missing; for a size that it cannot play.
    """

    def __init__(
        self, *, path: str | None = None, level: int = 0, size: int, komi: float = 5.5, timeout: float = 120.0
    ) -> None:
        if not 5 <= size <= 19:
            raise EngineError(f"GNU Go plays on boards from 5x5 to 19x19, not {size}x{size}")
        self.size = size
        options = ["--mode", "gtp", "--chinese-rules", "--never-resign", "--level", str(level)]
        super().__init__(
            [_program(path), *options, "--boardsize", str(size), "--komi", str(komi)], timeout=timeout
        )

    def new_game(self, seed: int) -> None:
        """An empty board."""
        self.ask("clear_board")
        self.ask(f"set_random_seed {seed % 2**31}")

    def set_level(self, level: int) -> None:
        """Of all later moves."""
        self.ask(f"level {level}")

    def play(self, black: bool, point: int) -> None:
        """Put a stone, or pass. Raises: EngineError for a move that is not legal."""
        self.ask(f"play {_colour(black)} {vertex(point, self.size)}")

    def choose(self, black: bool) -> int:
        """Its move, played."""
        return self._point(self.ask(f"genmove {_colour(black)}"))

    def look(self, black: bool) -> int:
        """Its move, not played; depends on the position alone, not on the seed."""
        return self._point(self.ask(f"reg_genmove {_colour(black)}"))

    def legal(self, black: bool) -> frozenset[int]:
        """Points that may be played, and the pass."""
        answer = self.ask(f"all_legal {_colour(black)}")
        return frozenset(self._point(word) for word in answer.split()) | {self.size**2}

    def considered(self, black: bool) -> tuple[int, dict[int, float]]:
        """Its move, not played, and what each move that it considers is worth to it.

        The scale is about that of points on the board, but flat where little is at stake. A move that is
        left out is worth nothing to it; its own move never is, be it a pass.
        """
        best = self.look(black)
        values = {}
        for line in self.ask("all_move_values", fenced=True).splitlines():
            point, _, value = line.strip().partition(" ")
            values[self._point(point)] = float(value)
        return best, {best: max(values.values(), default=0.0)} | values

    def values(self, black: bool) -> dict[int, float]:
        """What each move that it considers is worth to it; see `considered`."""
        return self.considered(black)[1]

    def score(self) -> float:
        """Black's points minus White's minus komi, once it has played the position out."""
        answer = self.ask("final_score")
        if answer == "0":
            return 0.0
        winner, _, margin = answer.partition("+")
        try:
            return {"B": 1, "W": -1}[winner] * float(margin)
        except (KeyError, ValueError):
            raise EngineError(f"{self.name}: gives {answer!r} as the score") from None

    def undo(self) -> None:
        """Take one move back."""
        self.ask("undo")

    def _point(self, word: str) -> int:
        try:
            return point_at(word, self.size)
        except ValueError as error:
            raise EngineError(f"{self.name}: {error}") from None


def _program(path: str | None) -> str:
    given = path or os.environ.get(VARIABLE)
    found = (
        shutil.which(given) if given else shutil.which("gnugo") or shutil.which("gnugo", path=GAMES_FOLDERS)
    )
    if found:
        return found
    if given:
        where = "the path given" if path else f"${VARIABLE}"
        raise EngineError(f"GNU Go: {where} is {given}, which is no program; correct it or leave it out")
    raise EngineError(f"GNU Go is missing; apt-get install gnugo, or set ${VARIABLE} to the program")


def _colour(black: bool) -> str:
    return "black" if black else "white"
