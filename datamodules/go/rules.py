"""Go's rules on a position: what may be played, what follows, the score."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Int8

Board = Int8[np.ndarray, "s s"]

EMPTY, BLACK, WHITE = 0, 1, 2
ENDLESS = 1_000_000  # plies; how long a game lasts is for its players to say


class Position:
    """A board with its history: simple ko, no suicide, area scoring; two passes in a row end the game.

    Wraps OpenSpiel's Go, which also ends a game where a whole board comes back, and would not let one that
    was set up go on after a pass. Here games go on then, as under the rules of GNU Go.

    size: points along a side, 2 to 19.  board: a copy.  ply: moves played, passes too.
    """

    def __init__(self, size: int, komi: float = 5.5) -> None:
        self.size, self.komi = size, komi
        self.ply, self.black_to_move = 0, True
        self._state = _game(size).new_initial_state()
        self._passes = 0  # in a row
        self._ko: int | None = None  # where the state does not know of it

    @property
    def board(self) -> Board:
        return _board(self._state, self.size)

    @property
    def over(self) -> bool:
        return self._passes >= 2

    def legal(self) -> frozenset[int]:
        """Points that whoever is to move may play, and the pass; none when the game is over."""
        if self.over:
            return frozenset()
        return frozenset(_flip(a, self.size) for a in self._state.legal_actions()) - {self._ko}

    def play(self, point: int) -> None:
        """Raises: ValueError, one line, for what is not legal."""
        if self.over:
            raise ValueError(f"{name(point, self.size)} after two passes, which end the game")
        action = _flip(point, self.size) if 0 <= point <= self.size**2 else -1
        if action < 0 or point == self._ko or not self._state.legal_actions_mask()[action]:
            raise ValueError(
                f"{name(point, self.size)} is not legal for {'Black' if self.black_to_move else 'White'}"
            )
        before = self._state.clone()
        self._state.apply_action(action)
        self._passes = self._passes + 1 if point == self.size**2 else 0
        self._ko = None
        self.ply += 1
        self.black_to_move = not self.black_to_move
        if self._state.is_terminal() and not self.over:
            self._ko = _ko(_board(before, self.size), self.board, point)
            self._state = _set_up(self.board, self.black_to_move)

    def child(self, point: int) -> "Position":
        """The position after a move; this one stays. Raises: ValueError as `play`."""
        child = self.copy()
        child.play(point)
        return child

    def copy(self) -> "Position":
        """One that can be played on alone."""
        copy = Position.__new__(Position)
        copy.__dict__.update(self.__dict__)
        copy._state = self._state.clone()
        return copy

    def score(self) -> float:
        """Black's points minus White's minus komi, by area as the board stands (Tromp-Taylor)."""
        board = self.board
        area = (board == BLACK).sum() - (board == WHITE).sum()
        for region in _chains(board, EMPTY):
            colours = {board[n] for point in region for n in neighbours(point, self.size)} - {EMPTY}
            if len(colours) == 1:
                area += len(region) if colours == {BLACK} else -len(region)
        return float(area) - self.komi


def replay(size: int, moves: Iterable[int], komi: float = 5.5) -> Position:
    """The position after the moves. Raises: ValueError that names the ply of an illegal one."""
    position = Position(size, komi)
    for ply, point in enumerate(moves):
        try:
            position.play(point)
        except ValueError as error:
            raise ValueError(f"ply {ply}: {error}") from error
    return position


def from_board(board: Board, black_to_move: bool, komi: float = 5.5) -> Position:
    """A position without a past, so that no ko is known. Raises: ValueError where a chain has no liberty."""
    size = len(board)
    for colour in (BLACK, WHITE):
        for chain in _chains(board, colour):
            if not any(board[n] == EMPTY for point in chain for n in neighbours(point, size)):
                stone = chain[0][0] * size + chain[0][1]
                raise ValueError(f"the chain at {name(stone, size)} has no liberty")
    position = Position(size, komi)
    position._state, position.black_to_move = _set_up(board, black_to_move), black_to_move
    return position


def name(point: int, size: int) -> str:
    """As players write it: column letter without I, row from the bottom; "pass"."""
    if point == size**2:
        return "pass"
    if not 0 <= point < size**2:
        return f"point {point}"
    return "ABCDEFGHJKLMNOPQRST"[point % size] + str(size - point // size)


def neighbours(point: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """(row, column) of the points beside one."""
    row, column = point
    beside = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
    return [(r, c) for r, c in beside if 0 <= r < size and 0 <= c < size]


_STONES = np.zeros(256, dtype=np.int8)
_STONES[ord("X")], _STONES[ord("O")] = BLACK, WHITE


@cache
def _game(size: int) -> Any:
    import pyspiel

    return pyspiel.load_game(f"go(board_size={size},komi=0.5,max_game_length={ENDLESS})")


def _board(state: Any, size: int) -> Board:
    # printed, with a margin of 4 characters and a newline a row: quicker by far than OpenSpiel's tensors
    text = str(state).split("\n", 2)[2].encode()
    rows = np.frombuffer(text, dtype=np.uint8, count=size * (size + 4)).reshape(size, size + 4)
    return _STONES[rows[:, 3:-1]]


def _flip(point: int, size: int) -> int:
    """From our points, row 0 at the top, to OpenSpiel's, row 0 at the bottom, and back; a pass stays."""
    row, column = divmod(point, size)
    return point if row == size else (size - 1 - row) * size + column


def _set_up(board: Board, black_to_move: bool) -> Any:
    """A state with these stones.

    They are played one by one, the colours in turn. Nothing is captured on the way: a part of a chain with a
    liberty has that liberty or touches a point where a stone of its chain is still to come.
    """
    size = len(board)
    black, white = ([_flip(int(p), size) for p in np.flatnonzero(board == c)] for c in (BLACK, WHITE))
    turns = max(len(black), len(white))
    black, white = ([size**2] * (turns - len(own)) + own for own in (black, white))
    actions = [action for turn in zip(black, white, strict=True) for action in turn]
    if not black_to_move:
        # a pass after a pass would end the game
        actions = actions[:-1] if actions and actions[-1] == size**2 else [*actions, size**2]
    state = _game(size).new_initial_state()
    for action in actions:
        state.apply_action(action)
    return state


def _ko(before: Board, after: Board, point: int) -> int | None:
    """Where a ko was just taken: a lone stone took one stone and has but the liberty where that stood."""
    taken = np.flatnonzero((before != EMPTY) & (after == EMPTY))
    size = len(after)
    if len(taken) != 1 or point == size**2:
        return None
    own = after[divmod(point, size)]
    beside = {n: after[n] for n in neighbours(divmod(point, size), size)}
    alone = own not in beside.values() and list(beside.values()).count(EMPTY) == 1
    return int(taken[0]) if alone else None


def _chains(board: Board, colour: int) -> list[list[tuple[int, int]]]:
    """Points that hang together, by (row, column)."""
    left = set(zip(*np.nonzero(board == colour), strict=True))
    chains = []
    while left:
        chain = [left.pop()]
        for point in chain:
            beside = left.intersection(neighbours(point, len(board)))
            left -= beside
            chain.extend(beside)
        chains.append(chain)
    return chains
