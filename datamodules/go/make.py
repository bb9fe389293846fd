"""Games that GNU Go plays against itself, and what a stronger level would have played in them."""

import queue
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.randomness import mix
from datamodules import SourceError
from datamodules.go.games import Game, encode, header, read_about, read_games, write_games
from datamodules.go.gnugo import GnuGo
from datamodules.go.library import split_of
from datamodules.go.rules import Position

PLIES_A_POINT = 4  # a game that lasts for more plies than this times the points of the board is ended
PLAIN_SECONDS = 30.0  # between lines that tell of progress where there is no terminal


@dataclass(frozen=True, kw_only=True)
class Making:
    """How games are made; all but their number, so that more can follow.

    size: points along a side.  level: of both players.  opening: plies of random legal moves at the start.
    noise: share of random legal moves after it.  annotator_level: of whoever tells what should have been
    played.  plies: moves of its lines.  seed: of everything random.
    """

    size: int
    level: int = 0
    opening: int = 4
    noise: float = 0.1
    annotator_level: int = 5
    plies: int = 5
    seed: int = 0

    def about(self) -> dict[str, Any]:
        """For the first line of the file."""
        made = (
            "GNU Go 3.8 against itself after random openings, Chinese rules, komi 5.5; lines by reg_genmove"
        )
        return {"made": made, **asdict(self)}


def make_games(
    path: Path, making: Making, count: int, *, processes: int = 1, program: str | None = None
) -> list[Game]:
    """The first `count` games of a making; those that the file does not hold are played and added to it.

    Game i depends on (making, i) alone, not on how many engines play. Where it was stopped, it goes on.

    Raises: SourceError where the file holds games made otherwise; EngineError where GNU Go is
    missing or fails.
    """
    index = {game_id(making, i): i for i in range(count)}

    def one(engine: GnuGo, id: str) -> Game:
        game = play_game(engine, making, index[id])
        judged = split_of(game) != "train"
        return annotate_game(engine, game, level=making.annotator_level, plies=making.plies, judged=judged)

    return _kept(path, index, one, making.about(), processes, program)


def annotate_games(
    path: Path,
    games: Iterable[Game],
    *,
    level: int = 5,
    plies: int = 5,
    processes: int = 1,
    program: str | None = None,
) -> list[Game]:
    """These games with an annotator's lines and values; the file keeps those that are done.

    Raises: SourceError where the file holds games annotated otherwise, or others of the same names;
    EngineError where GNU Go is missing or fails.
    """
    given = {game.id: game for game in games}
    sizes = {game.size for game in given.values()}
    if len(sizes) != 1:
        raise SourceError(f"games to annotate on boards of sizes {sorted(sizes)}; give some, all of one size")
    about = {"made": "annotated by GNU Go 3.8", "annotator_level": level, "plies": plies, "size": sizes.pop()}

    def one(engine: GnuGo, id: str) -> Game:
        judged = split_of(given[id]) != "train"
        return annotate_game(engine, given[id], level=level, plies=plies, judged=judged)

    annotated = _kept(path, given, one, about, processes, program)
    for game in annotated:
        if game.moves != given[game.id].moves:
            raise SourceError(f"{path}: holds another game that is named {game.id}; give another file")
    return annotated


def game_id(making: Making, index: int) -> str:
    """Names a game for good: the same one, however many there are."""
    return f"gnugo{making.size}-{making.seed}-{index:05d}"


def play_game(engine: GnuGo, making: Making, index: int) -> Game:
    """Game `index` of a making, not annotated."""
    rng = np.random.Generator(np.random.Philox(key=mix(making.seed, index)))
    position = Position(making.size)
    moves: list[int] = []
    engine.set_level(making.level)
    engine.new_game(mix(making.seed, index))
    while not position.over and len(moves) < PLIES_A_POINT * making.size**2:
        noisy = making.size**2 not in moves and rng.random() < making.noise  # not in what is decided
        at_random = len(moves) < making.opening or noisy
        points = sorted(position.legal() - {making.size**2}) if at_random else []
        if points:
            point = int(rng.choice(points))
            engine.play(position.black_to_move, point)
        else:
            point = engine.choose(position.black_to_move)
        position.play(point)
        moves.append(point)
    return Game(making.size, moves, making.opening, id=game_id(making, index))


def annotate_game(engine: GnuGo, game: Game, *, level: int, plies: int, judged: bool) -> Game:
    """The game with the engine's lines from all positions past the opening, and its values of Black's moves.

    There is nothing at a position where it would pass. Two passes end a line early. Values only if judged.
    """
    passing = game.size**2
    lines, values = {}, {}
    seen: dict[tuple[int, ...], tuple[int, dict[int, float]]] = {}

    def considered(moves: tuple[int, ...]) -> tuple[int, dict[int, float]]:
        if moves not in seen:
            seen[moves] = engine.considered(len(moves) % 2 == 0)
        return seen[moves]

    engine.set_level(level)
    engine.new_game(0)
    for ply, point in enumerate(game.moves):
        black, before = ply % 2 == 0, tuple(game.moves[:ply])
        if black and ply >= game.opening and considered(before)[0] != passing:
            now = before
            while len(now) < ply + plies and now[-2:] != (passing, passing):
                best, _ = considered(now)
                engine.play(len(now) % 2 == 0, best)
                now = (*now, best)
            for _ in now[ply:]:
                engine.undo()
            lines[ply] = list(now[ply:])
            if judged:
                values[ply] = considered(before)[1]
        engine.play(black, point)
    return replace(game, lines=lines, values=values)


def _kept(
    path: Path,
    ids: Collection[str],
    one: Callable[[GnuGo, str], Game],
    about: dict[str, Any],
    processes: int,
    program: str | None,
) -> list[Game]:
    """A game for each id, from the file or done now.

    A game that is done is appended at once to a plain file beside it, so that little is lost when stopped.
    """
    have = _held(path, about) if path.exists() else {}
    if have.keys() >= set(ids):
        return [have[id] for id in ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    if partial.exists():
        have |= _recovered(partial, about)
    else:
        partial.write_text(header(about) + "\n")
    missing = [id for id in ids if id not in have]
    with ExitStack() as stack:
        free: queue.SimpleQueue[GnuGo] = queue.SimpleQueue()
        for _ in range(processes):
            free.put(stack.enter_context(GnuGo(path=program, size=about["size"])))

        def borrowing(id: str) -> Game:
            engine = free.get()
            try:
                return one(engine, id)
            finally:
                free.put(engine)

        file = stack.enter_context(open(partial, "a"))
        threads = ThreadPoolExecutor(processes)
        stack.callback(threads.shutdown, cancel_futures=True)
        done = as_completed([threads.submit(borrowing, id) for id in missing])
        for future in _told(done, len(missing), path.name):
            game = future.result()
            have[game.id] = game
            file.write(encode(game) + "\n")
            file.flush()
    write_games(path, [have[id] for id in sorted(have)], about)
    partial.unlink(missing_ok=True)  # another process may have made the same games
    return [have[id] for id in ids]


def _held(path: Path, about: dict[str, Any]) -> dict[str, Game]:
    """The games of a file, by id. Raises: SourceError where they were made otherwise."""
    told = read_about(path)
    for key, value in about.items():
        if key != "made" and told.get(key) != value:
            raise SourceError(f"{path}: made with {key} {told.get(key)}, not {value}; give another file")
    return {game.id: game for game in read_games(path)}


def _recovered(partial: Path, about: dict[str, Any]) -> dict[str, Game]:
    """The games that a stopped run finished; what it was writing when it was stopped is cut off."""
    content = partial.read_bytes()
    with open(partial, "r+b") as file:
        file.truncate(content.rfind(b"\n") + 1)
    if b"\n" not in content:
        partial.write_text(header(about) + "\n")
    return _held(partial, about)


def _told(futures: Iterator[Future], total: int, name: str) -> Iterator[Future]:
    """The same, and how far it is: a bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(
            futures, total=total, description=f"games of {name}", console=console, transient=True
        )
        return
    said = time.monotonic()
    for done, future in enumerate(futures, 1):
        yield future
        if time.monotonic() - said > PLAIN_SECONDS or done == total:
            said = time.monotonic()
            print(f"{name}: {done}/{total} games", file=sys.stderr, flush=True)
