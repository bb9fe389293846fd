"""Games to and from SGF, the Smart Game Format."""

import hashlib
from pathlib import Path

from datamodules import SourceError
from datamodules.go.games import Game, spell
from datamodules.go.rules import replay

COLOURS = ("b", "w")


def to_sgf(game: Game, names: tuple[str, str], result: str, komi: float = 5.5) -> str:
    """One game, without lines and values.

    names: of Black and of White.  result: as SGF writes it, "B+3.5", "W+R" or "Void".
    """
    from sgfmill import sgf

    written = sgf.Sgf_game(game.size, encoding="UTF-8")
    root = written.get_root()
    told = (
        ("KM", komi),
        ("PB", names[0]),
        ("PW", names[1]),
        ("RE", result),
        ("GN", game.id),
        ("RU", "Chinese"),
    )
    for key, value in told:
        root.set(key, value)
    for ply, point in enumerate(game.moves):
        row, column = divmod(point, game.size)
        move = None if point == game.size**2 else (game.size - 1 - row, column)
        written.extend_main_sequence().set_move(COLOURS[ply % 2], move)
    return written.serialise().decode()


def from_sgf(source: str | Path) -> Game:
    """The main line of the first game of a file (a Path) or of a text (a string).

    Its id is the file's name without .sgf, or made of the moves where there is none.

    Raises: SourceError, one line: not SGF, another game than Go, stones set up, Black and White not in turn
    from Black on, moves that are not legal.
    """
    if isinstance(source, str):
        return _parse(source.encode(), "SGF", None)
    try:
        return _parse(source.read_bytes(), str(source), source.stem)
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({error.strerror})") from error


def _parse(content: bytes, where: str, id: str | None) -> Game:
    from sgfmill import sgf

    try:
        read = sgf.Sgf_game.from_bytes(content)
        size, root = read.get_size(), read.get_root()
        nodes = read.get_main_sequence()
        moves = [move for move in (node.get_move() for node in nodes) if move[0]]
    except (ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise SourceError(f"{where}: not SGF ({' '.join(str(error).split())})") from error
    if root.has_property("GM") and root.get_raw("GM").strip() != b"1":
        raise SourceError(f"{where}: SGF of another game than Go")
    if not 2 <= size <= 19:
        raise SourceError(f"{where}: a board of {size}x{size}; boards have 2 to 19 points along a side")
    if any(node.has_setup_stones() for node in nodes):
        raise SourceError(f"{where}: has stones set up; games must begin on the empty board")
    if not moves:
        raise SourceError(f"{where}: has no moves")
    points = []
    for ply, (colour, move) in enumerate(moves):
        if colour != COLOURS[ply % 2]:
            told = "begins with White" if ply == 0 else f"ply {ply}: the same colour twice in a row"
            raise SourceError(f"{where}: {told}; moves must be Black's and White's in turn")
        points.append(size**2 if move is None else (size - 1 - move[0]) * size + move[1])
    try:
        replay(size, points)
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error
    return Game(size, points, id=id or f"sgf-{hashlib.sha256(spell(points, size).encode()).hexdigest()[:12]}")
