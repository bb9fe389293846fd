"""Rules against sgfmill and GNU Go, and on positions that are known."""

import copy
import pickle
import random
import shutil
import subprocess

import numpy as np
import pytest

from datamodules.go.rules import BLACK, EMPTY, WHITE, Position, from_board, name, neighbours, replay

GNUGO = shutil.which("gnugo", path="/usr/games:/usr/local/bin:/usr/bin")


def board(text: str) -> np.ndarray:
    """X black, O white."""
    return np.array([".XO".index(c) for c in "".join(text.split())], dtype=np.int8).reshape(5, 5)


def points(position: Position) -> set[str]:
    return {name(point, position.size) for point in position.legal()}


def play_at_random(seed: int, size: int, plies: int) -> tuple[Position, list[int]]:
    rng, position, moves = random.Random(seed), Position(size), []
    for _ in range(plies):
        choices = sorted(position.legal() - {size**2}) or [size**2]
        moves.append(rng.choice(choices))
        position.play(moves[-1])
        if position.over:
            break
    return position, moves


KO = """.XO..
        XO.O.
        .XO..
        .....
        ....."""


def test_points_are_counted_from_the_top_left():
    position = Position(5)
    position.play(1)  # row 0, column 1
    assert position.board[0, 1] == BLACK
    assert name(1, 5) == "B5"
    assert name(20, 5) == "A1"
    assert name(25, 5) == "pass"
    assert name(8, 9) == "J9"
    assert not position.black_to_move
    assert position.ply == 1
    position.play(25)
    assert position.black_to_move
    assert position.board.sum() == BLACK


def test_two_passes_end_the_game():
    position = replay(5, [12, 25, 25])
    assert position.over
    assert position.legal() == frozenset()
    with pytest.raises(ValueError, match="A5 after two passes"):
        position.play(0)


def test_illegal_moves_are_told_in_one_line():
    with pytest.raises(ValueError, match=r"^C3 is not legal for White$"):
        replay(5, [12]).play(12)
    for point in (-1, 26, 1000):
        with pytest.raises(ValueError, match=rf"^point {point} is not legal for Black$"):
            Position(5).play(point)
    with pytest.raises(ValueError, match=r"^ply 2: C3 is not legal for Black$"):
        replay(5, [12, 13, 12])


def test_a_child_leaves_its_parent_alone():
    parent = replay(5, [12])
    child = parent.child(7)
    assert parent.board[1, 2] == EMPTY
    assert child.board[1, 2] == WHITE
    assert (parent.ply, child.ply) == (1, 2)
    assert child.black_to_move
    assert not parent.black_to_move


def test_captures_and_suicide():
    position = from_board(board(".XXX. XOO.X .XXX. ..... ....."), black_to_move=False)
    assert "D4" not in points(position)  # the three would have no liberty
    black = from_board(board(".XXX. XOO.X .XXX. ..... ....."), black_to_move=True).child(8)
    assert black.board[1].tolist() == [1, 0, 0, 1, 1]


def test_a_ko_may_not_be_retaken_at_once():
    position = from_board(board(KO), black_to_move=True)
    taken = position.child(7)  # Black takes at C4 what stands at B4
    assert taken.board[1].tolist() == [1, 0, 1, 2, 0]
    assert "B4" not in points(taken)
    later = taken.child(24).child(20)
    assert "B4" in points(later)


@pytest.mark.parametrize("black_to_move", [True, False])
@pytest.mark.parametrize(
    "text", ["..... " * 5, KO, "X.... " * 5, "O.... " * 5, "XXXX. XXXXX XXXXX XXXXX XXXXX"]
)
def test_a_board_without_a_past(text, black_to_move):
    wanted = board(text)
    position = from_board(wanted, black_to_move)
    assert np.array_equal(position.board, wanted)
    assert position.black_to_move is black_to_move
    assert not position.over
    once = position.child(25)  # a pass is no end, however the stones were put there
    assert not once.over
    assert once.black_to_move is not black_to_move
    assert once.child(25).over
    for point in position.legal() - {25}:
        assert position.child(point).board[divmod(point, 5)] == (BLACK if black_to_move else WHITE)


def test_a_board_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="the chain at A5 has no liberty"):
        from_board(board("XO... O.... ..... ..... ....."), black_to_move=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_board_set_up_allows_what_the_game_did(seed):
    position, _ = play_at_random(seed, 5, 30 + seed)
    if position.over:
        return
    bare = from_board(position.board, position.black_to_move)
    assert position.legal() <= bare.legal()
    assert len(bare.legal() - position.legal()) <= 1  # a ko that the board does not tell of
    for point in position.legal():
        assert np.array_equal(position.child(point).board, bare.child(point).board)


def _captured(before: np.ndarray, point: int, colour: int) -> np.ndarray:
    """The board after a move, by sgfmill."""
    from sgfmill.boards import Board

    size = len(before)
    sgfmill, colours = Board(size), {BLACK: "b", WHITE: "w"}
    stones = [
        [(size - 1 - r, c) for r, c in zip(*np.nonzero(before == kind), strict=True)]
        for kind in (BLACK, WHITE, EMPTY)
    ]
    sgfmill.apply_setup(*stones)
    row, column = divmod(point, size)
    sgfmill.play(size - 1 - row, column, colours[colour])
    after = np.zeros_like(before)
    for tint, (r, c) in sgfmill.list_occupied_points():
        after[size - 1 - r, c] = BLACK if tint == "b" else WHITE
    return after


@pytest.mark.parametrize("size", [2, 5, 9])
def test_boards_equal_those_of_sgfmill_and_scores_too(size):
    pytest.importorskip("sgfmill")
    from sgfmill.boards import Board

    for seed in range(4):
        rng, position = random.Random(seed), Position(size, komi=0.5)
        for _ in range(60):
            point = rng.choice(sorted(position.legal() - {size**2}) or [size**2])
            before, colour = position.board, BLACK if position.black_to_move else WHITE
            position.play(point)
            if point < size**2:
                assert np.array_equal(position.board, _captured(before, point, colour))
            if position.over:
                break
        judge = Board(size)
        black, white = (np.argwhere(position.board == colour).tolist() for colour in (BLACK, WHITE))
        judge.apply_setup(black, white, [])
        assert position.score() == judge.area_score() - 0.5


def _legal_by_hand(before: np.ndarray, boards: list[np.ndarray], black: bool) -> set[int]:
    """Empty points where the stone keeps a liberty, less the one that makes the last board but one again
    with a single stone taken by a single stone: simple ko."""
    size, own = len(before), BLACK if black else WHITE
    legal = {size**2}
    for point in np.flatnonzero(before == EMPTY).tolist():
        after = _captured(before, point, own)
        lone = all(after[n] != own for n in neighbours(divmod(point, size), size))
        ko = lone and len(boards) > 1 and np.array_equal(after, boards[-2])
        if after[divmod(point, size)] == own and not ko:
            legal.add(point)
    return legal


def test_legal_moves_equal_those_found_by_trying_also_where_boards_come_back():
    pytest.importorskip("sgfmill")
    came_back = 0
    for seed in range(6):
        rng, position, boards = random.Random(seed), Position(3), []
        for _ in range(80):
            boards.append(position.board)
            assert position.legal() == _legal_by_hand(boards[-1], boards, position.black_to_move)
            position.play(rng.choice(sorted(position.legal() - {9}) or [9]))
            came_back += any(np.array_equal(position.board, b) for b in boards)
            if position.over:
                break
    assert came_back > 40


@pytest.mark.skipif(GNUGO is None, reason="GNU Go is not installed")
def test_legal_moves_equal_those_of_gnu_go():
    commands, wanted = [], []
    for seed in range(25):
        _, moves = play_at_random(seed, 7, 41)
        commands += ["boardsize 7", "clear_board"]
        position = Position(7)
        for ply, point in enumerate(moves):
            colour = "b" if position.black_to_move else "w"
            commands += [f"1{ply} all_legal {colour}", f"play {colour} {name(point, 7)}"]
            wanted.append({name(p, 7) for p in position.legal() - {49}})
            position.play(point)
    answer = subprocess.run(
        [str(GNUGO), "--mode", "gtp"], input="\n".join([*commands, "quit"]), text=True, capture_output=True
    ).stdout
    told = [set(line.split()[1:]) for line in answer.splitlines() if line.startswith("=1")]
    assert len(wanted) >= 1_000
    assert told == wanted


def test_a_known_score():
    position = from_board(board(".X.O. XX.OO .X.O. XX.OO .X.O."), black_to_move=True, komi=5.5)
    assert position.score() == 10 - 10 - 5.5  # the middle is nobody's
    assert Position(9, komi=7.5).score() == -7.5
    assert replay(9, [40]).score() == 81 - 5.5


def test_positions_travel_between_processes():
    position = replay(5, [12, 13, 7])
    for other in (pickle.loads(pickle.dumps(position)), copy.deepcopy(position)):
        assert np.array_equal(other.board, position.board)
        assert other.legal() == position.legal()
        assert other.ply == 3
