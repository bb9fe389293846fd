"""Games as move lists, with what an annotator would have played; files of them."""

import json
import lzma
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules import SourceError

FORMAT = "go games 1"  # of the files; the number changes when old readers would misread them
LETTERS = "abcdefghijklmnopqrs"  # of columns from the left and of rows from the top, as in SGF
PASS = "tt"


@dataclass
class Game:
    """One game, Black first; what is known of a position stands under its ply.

    size: points along a side.  moves: points in the order played.  opening: plies at the start that are
    context only.  lines: the annotator's moves from positions with Black to move.  values: of Black's moves
    there, by point; the higher the better.  id: names the game for good.
    """

    size: int
    moves: list[int]
    opening: int = 0
    lines: dict[int, list[int]] = field(default_factory=dict)
    values: dict[int, dict[int, float]] = field(default_factory=dict)
    id: str = ""


def positions(games: Iterable[Game]) -> Iterator[tuple[Game, int]]:
    """Every (game, ply) past the opening at which Black made a move."""
    for game in games:
        for ply in range(game.opening + game.opening % 2, len(game.moves), 2):
            yield game, ply


def read_games(path: str | Path) -> list[Game]:
    """All games of a file that write_games made. Raises: SourceError, one line, for a damaged file."""
    lines = _lines(Path(path))
    _header(lines[0], path)
    return [decode(line, f"{path}, line {i}") for i, line in enumerate(lines[1:], 2) if line]


def read_about(path: str | Path) -> dict[str, Any]:
    """How the games of a file were made."""
    return _header(_lines(Path(path))[0], path)


def write_games(path: str | Path, games: Iterable[Game], about: dict[str, Any]) -> None:
    """JSON lines, compressed where the name ends in .xz; the first one tells how the games were made."""
    path = Path(path)
    text = "\n".join([header(about), *map(encode, games)]) + "\n"
    content = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new{os.getpid()}")
    new.write_bytes(
        lzma.compress(content, preset=9 | lzma.PRESET_EXTREME) if path.suffix == ".xz" else content
    )
    new.replace(path)


def shipped(name: str) -> Path:
    """A file of games next to this code."""
    path = Path(__file__).with_name(name)
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.jsonl.xz"))) or "none"
        raise SourceError(f"no games {name} come with the project; there are: {there}")
    return path


def header(about: dict[str, Any]) -> str:
    """The first line of a file."""
    return json.dumps({"format": FORMAT, **about})


def encode(game: Game) -> str:
    """One line of a file."""
    told: dict[str, Any] = {"id": game.id, "size": game.size, "opening": game.opening}
    told["moves"] = spell(game.moves, game.size)
    if game.lines:
        told["lines"] = {ply: spell(line, game.size) for ply, line in game.lines.items()}
    if game.values:
        told["values"] = {
            ply: {spell([point], game.size): value for point, value in values.items()}
            for ply, values in game.values.items()
        }
    return json.dumps(told, separators=(",", ":"))


def decode(line: str, where: str) -> Game:
    """A game from one line of a file. Raises: SourceError that says where."""
    try:
        told = json.loads(line)
        size = int(told["size"])
        lines = {int(ply): _read(moves, size) for ply, moves in told.get("lines", {}).items()}
        values = {
            int(ply): {_read(point, size)[0]: float(value) for point, value in of_points.items()}
            for ply, of_points in told.get("values", {}).items()
        }
        moves = _read(told["moves"], size)
        return Game(size, moves, int(told["opening"]), lines, values, str(told["id"]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SourceError(
            f"{where}: not a game ({type(error).__name__}: {error}); make the file anew"
        ) from error


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
        return (lzma.decompress(content) if path.suffix == ".xz" else content).decode().split("\n")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); give a file of games") from error
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise SourceError(f"{path}: damaged ({error}); make or copy it anew") from error


def _header(line: str, path: str | Path) -> dict[str, Any]:
    try:
        about = json.loads(line)
        if about["format"] == FORMAT:
            return about
    except (ValueError, KeyError, TypeError):
        pass
    raise SourceError(f"{path}: its first line is not that of a file of games ({FORMAT}); give one that is")


def spell(points: Iterable[int], size: int) -> str:
    """Points in two letters each, as in SGF; tt is a pass."""
    return "".join(
        PASS if point == size**2 else LETTERS[point % size] + LETTERS[point // size] for point in points
    )


def _read(text: str, size: int) -> list[int]:
    if len(text) % 2:
        raise ValueError(f"moves of two letters each, got {text!r}")
    points = []
    for pair in (text[i : i + 2] for i in range(0, len(text), 2)):
        column, row = (LETTERS.find(letter) for letter in pair)
        if pair != PASS and not (0 <= column < size and 0 <= row < size):
            raise ValueError(f"{pair!r} is no point of a {size}x{size} board")
        points.append(size**2 if pair == PASS else row * size + column)
    return points
