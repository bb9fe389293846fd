"""Where games come from: the file that ships, other files, folders of SGF."""

import glob
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from datamodules import SourceError, Split
from datamodules.go.games import Game, read_games, shipped
from datamodules.reasons import grouped

SHIPPED = "shipped"
SUFFIXES = (".jsonl", ".jsonl.xz")
TEST, VAL = 5, 10  # of a hundred games: the first five are test, the next five val

log = logging.getLogger("datamodules")


@dataclass(frozen=True)
class Played:
    """How many games are wanted, and how those that a file does not hold are played by GNU Go."""

    count: int
    level: int
    annotator_level: int
    seed: int
    engines: int


@dataclass(frozen=True)
class Annotator:
    """Whose lines games are given, and the file that keeps them."""

    file: str
    level: int
    engines: int


def find_games(
    games: str, size: int, played: Played | None = None, annotator: Annotator | None = None
) -> list[Game]:
    """All games on boards of a size, or so many. Raises: SourceError, one line, where there are none.

    games: "shipped", a file of games, or SGF: a file, a folder or a glob. SGF files that cannot be used are
    passed over and told in one warning.
    played: takes the first `count` games; has what is missing played and added to the file.
    annotator: its lines take the place of those that the games have.
    """
    found = _found(games, size, played)
    if annotator is None:
        return found
    from datamodules.go.make import annotate_games

    file = Path(annotator.file).expanduser()
    if not file.name.endswith(SUFFIXES):
        raise SourceError(f"data.annotations={annotator.file}: give a file *{SUFFIXES[0]} or *{SUFFIXES[1]}")
    return annotate_games(file, found, level=annotator.level, processes=annotator.engines)


def _found(games: str, size: int, played: Played | None) -> list[Game]:
    path = shipped(f"go_{size}x{size}.jsonl.xz") if games == SHIPPED else Path(games).expanduser()
    can_grow = games != SHIPPED and path.name.endswith(SUFFIXES)
    if path.is_file() and path.suffix != ".sgf":
        found = _from_file(games, path, size)
    else:
        found = [] if can_grow else _from_sgf(games, path, size)
    if played is None:
        if not found:
            advice = "set data.count=1000 to have GNU Go play as many"
            raise SourceError(f"data.games={games}: no such file, or no games in it; {advice}")
        return found
    if len(found) >= played.count:
        return found[: played.count]
    if not can_grow:
        advice = f"set data.games to a file (*{SUFFIXES[0]}) that GNU Go's games may be added to"
        raise SourceError(f"data.count={played.count}: {games} has {len(found)} games; {advice}")
    from datamodules.go.make import Making, make_games

    making = Making(size=size, level=played.level, annotator_level=played.annotator_level, seed=played.seed)
    return make_games(path, making, played.count, processes=played.engines)


def split_of(game: Game) -> Split:
    """By a hash of the game's id, so that a game keeps its place when others come: 90 % train, 5 % each."""
    place = int.from_bytes(hashlib.sha256(game.id.encode()).digest()[:8]) % 100
    return "test" if place < TEST else "val" if place < VAL else "train"


def _from_file(games: str, path: Path, size: int) -> list[Game]:
    found = read_games(path)
    other = sorted({game.size for game in found} - {size})
    if other:
        boards = ", ".join(f"{one}x{one}" for one in other)
        raise SourceError(f"data.games={games}: games on {boards} boards; set data.size to the one they have")
    return found


def _from_sgf(games: str, path: Path, size: int) -> list[Game]:
    from datamodules.go.sgf import from_sgf

    names = sorted(path.rglob("*.sgf")) if path.is_dir() else [Path(p) for p in sorted(glob.glob(str(path)))]
    if not names:
        kinds = f"{SHIPPED}, a file of games (*{SUFFIXES[0]}, *{SUFFIXES[1]}) or SGF"
        raise SourceError(f"data.games={games}: no .sgf there; give {kinds}")
    found, refused = [], {}
    for name in names:
        try:
            game = from_sgf(name)
        except SourceError as error:
            refused[str(name)] = str(error)
            continue
        if game.size == size:
            found.append(game)
        else:
            refused[str(name)] = f"a {game.size}x{game.size} board, not {size}x{size}"
    if not found:
        raise SourceError(f"data.games={games}: no usable game; {grouped(refused, '; ')}")
    if refused:
        log.warning(
            "data.games=%s: skipped %d of %d\n  %s", games, len(refused), len(names), grouped(refused, "\n  ")
        )
    return found
