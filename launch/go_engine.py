"""GTP (version 2) around a player that is asked for one move at a time."""

from collections.abc import Callable, Iterable
from typing import Any, TextIO

COLUMNS = "ABCDEFGHJKLMNOPQRST"  # no I
COLOURS = {"b": True, "black": True, "w": False, "white": False}


class Refusal(Exception):
    """What GTP answers with a question mark."""


class GoEngine:
    """One game, and the commands that change it; each takes its arguments as words and returns the answer.

    A model learned Black's moves: asked for White's, it is shown the board with the colours swapped. Where
    its drawing shows no legal move, it passes. A move out of turn takes the board as it stands, without its
    past.
    """

    def __init__(self, player: Any, *, size: int, seed: int) -> None:
        self.player, self.size, self.seed = player, size, seed
        self.komi = 5.5
        self.clear_board([])

    def clear_board(self, words: list[str]) -> str:
        from evaluation.go_players import Going

        self.game = Going.begun(self.size, [], self.seed)
        self.past: list[Any] = []
        return ""

    def boardsize(self, words: list[str]) -> str:
        if not words or not words[0].isdigit():
            raise Refusal("boardsize not an integer")
        if int(words[0]) != self.size:
            raise Refusal(f"unacceptable size, the model plays on {self.size}x{self.size}")
        return self.clear_board([])

    def set_komi(self, words: list[str]) -> str:
        try:
            self.komi = float(words[0])
        except (IndexError, ValueError) as error:
            raise Refusal("komi not a float") from error
        return ""

    def play(self, words: list[str]) -> str:
        if len(words) != 2:
            raise Refusal("invalid color or coordinate")
        game = self._turn(_colour(words[0]))
        point = _point(words[1], self.size)
        if point != self.size**2 and point not in game.position.legal():
            raise Refusal("illegal move")
        self._go(game, point)
        return ""

    def genmove(self, words: list[str]) -> str:
        game = self._turn(_colour(words[0] if words else ""))
        point = self._chosen(game)
        self._go(game, point)
        return _vertex(point, self.size)

    def reg_genmove(self, words: list[str]) -> str:
        return _vertex(self._chosen(self._turn(_colour(words[0] if words else ""))), self.size)

    def undo(self, words: list[str]) -> str:
        if not self.past:
            raise Refusal("cannot undo")
        self.game = self.past.pop()
        return ""

    def showboard(self, words: list[str]) -> str:
        letters = "   " + " ".join(COLUMNS[: self.size])
        rows = ["".join(f" {'.XO'[stone]}" for stone in row) for row in self.game.position.board]
        numbered = [f"{self.size - i:2}{row} {self.size - i}" for i, row in enumerate(rows)]
        turn = "black (X)" if self.game.position.black_to_move else "white (O)"
        return "\n".join(["", letters, *numbered, letters, f"{turn} to move"])

    def final_score(self, words: list[str]) -> str:
        margin = self.game.position.score() + self.game.position.komi - self.komi
        return f"{'B' if margin > 0 else 'W'}+{abs(margin):g}" if margin else "0"

    def _turn(self, black: bool) -> Any:
        """The game with this colour to move: GTP lets a colour move twice, and go on after two passes."""
        from datamodules.go.rules import from_board
        from evaluation.go_players import Going

        position = self.game.position
        if position.black_to_move == black and not position.over:
            return self.game
        return Going(from_board(position.board, black), [*self.game.moves], self.seed)

    def _chosen(self, game: Any) -> int:
        point = self.player.moves([game])[0]
        return self.size**2 if point is None else point

    def _go(self, game: Any, point: int) -> None:
        from evaluation.go_players import Going

        self.past.append(self.game)
        self.game = Going(game.position.child(point), [*game.moves, point], self.seed)


class Conversation:
    """GTP's frame around an engine: ids, comments, unknown commands, failures in one line."""

    def __init__(self, engine: GoEngine) -> None:
        self.open = True
        self.commands: dict[str, Callable[[list[str]], str]] = {
            "protocol_version": lambda words: "2",
            "name": lambda words: "Video World Models",
            "version": lambda words: _version(),
            "list_commands": lambda words: "\n".join(self.commands),
            "known_command": lambda words: str(bool(words) and words[0] in self.commands).lower(),
            "boardsize": engine.boardsize,
            "clear_board": engine.clear_board,
            "komi": engine.set_komi,
            "play": engine.play,
            "genmove": engine.genmove,
            "reg_genmove": engine.reg_genmove,
            "undo": engine.undo,
            "showboard": engine.showboard,
            "final_score": engine.final_score,
            "time_settings": lambda words: "",  # it takes the time it takes
            "time_left": lambda words: "",
            "quit": self._quit,
        }

    def hold(self, lines: Iterable[str], out: TextIO) -> None:
        """Answer line by line."""
        for line in lines:
            if answer := self.answer(line):
                out.write(answer)
                out.flush()
            if not self.open:
                return

    def answer(self, line: str) -> str:
        """The answer to one line, with its closing blank line; nothing for an empty line."""
        text = "".join(c for c in line.partition("#")[0].replace("\t", " ") if c.isprintable())
        words = text.split()
        number = words.pop(0) if words and words[0].isdigit() else ""
        if not words:
            return ""
        try:
            if words[0] not in self.commands:
                raise Refusal("unknown command")
            said = self.commands[words[0]](words[1:])
        except Exception as error:  # whatever it is, the program at the other end waits for an answer
            told = "" if isinstance(error, Refusal) else f"{type(error).__name__}: "
            return f"?{number} {told}{' '.join(str(error).split())}\n\n"
        return f"={number} {said}\n\n"

    def _quit(self, words: list[str]) -> str:
        self.open = False
        return ""


def _colour(word: str) -> bool:
    """Whether it is Black."""
    if word.lower() not in COLOURS:
        raise Refusal("invalid color or coordinate")
    return COLOURS[word.lower()]


def _point(word: str, size: int) -> int:
    from datamodules.go.gtp import point_at

    try:
        return point_at(word, size)
    except ValueError as error:
        raise Refusal("invalid color or coordinate") from error


def _vertex(point: int, size: int) -> str:
    from datamodules.go.gtp import vertex

    return vertex(point, size).upper()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("video-world-models")
    except PackageNotFoundError:  # run from a clone
        return "0"
