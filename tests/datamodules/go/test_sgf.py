"""SGF: what is written is read again, and what cannot be learned from is refused in one line."""

from pathlib import Path

import pytest

from datamodules import SourceError
from datamodules.go.games import Game
from datamodules.go.sgf import from_sgf, to_sgf
from tests.datamodules.go.random_games import random_game


@pytest.mark.parametrize("size", [2, 5, 9, 19])
def test_games_come_back_as_they_were(tmp_path: Path, size: int) -> None:
    for seed in range(5):
        game = random_game(seed, size=size, plies=30 if size > 2 else 3, line=1)
        moves = game.moves if seed % 2 else [*game.moves, size**2, size**2]  # passes
        text = to_sgf(Game(size, moves, id="a [game]: \\ of many names"), ("Zoë; [B]", "W\n]"), "B+3.5")
        assert from_sgf(text).moves == moves
        assert from_sgf(text).size == size
        path = tmp_path / f"{seed}.sgf"
        path.write_text(text, encoding="utf-8")
        assert from_sgf(path) == Game(size, moves, id=str(seed))
        assert from_sgf(text).id == from_sgf(text).id != from_sgf(to_sgf(Game(size, [0]), ("", ""), "?")).id


def test_it_says_who_played_and_how_it_ended() -> None:
    text = to_sgf(Game(9, [0, 80, 81], id="g7"), ("model", "gnugo_30"), "W+R", komi=0.5)
    for said in ("SZ[9]", "KM[0.5]", "PB[model]", "PW[gnugo_30]", "RE[W+R]", "GN[g7]", "RU[Chinese]"):
        assert said in text
    assert "".join(text.split()).endswith(";B[aa];W[ii];B[tt])")  # SGF counts rows from the top, as we do


def test_other_programs_files_are_read() -> None:
    # lower-case comment first, a pass as tt, nodes without moves, a variation, a second game
    text = "exported\n(;GM[1]FF[3]SZ[5];C[hello];B[cc](;W[bb];B[tt])(;W[dd]))(;SZ[5];B[aa])"
    assert from_sgf(text).moves == [12, 6, 25]
    assert from_sgf("(;FF[4];B[pd];W[dp])").size == 19
    assert from_sgf("(;SZ[5]B[cc];W[dd])").moves == [12, 18]  # a move in the root


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not SGF"),
        ("nonsense", "not SGF"),
        ("(;B[aa]", "not SGF"),
        ("(;SZ[5];B[zz])", "not SGF"),
        ("(;SZ[5]CA[klingon];B[aa])", "not SGF"),
        ("(;SZ[99];B[aa])", "not SGF"),
        ("(;SZ[x];B[aa])", "not SGF"),
        ("(;SZ[21];B[aa])", "21x21"),
        ("(;GM[2]SZ[5];B[aa])", "another game"),
        ("(;SZ[5]HA[2]AB[aa][bb];W[cc])", "stones set up"),
        ("(;SZ[5];B[cc];AE[cc]W[dd])", "stones set up"),
        ("(;SZ[5])", "no moves"),
        ("(;SZ[5];W[cc];B[dd])", "begins with White"),
        ("(;SZ[5];B[cc];B[dd])", "ply 1: the same colour twice"),
        ("(;SZ[5];B[cc];W[cc])", "ply 1: C3 is not legal"),
        ("(;SZ[5];B[];W[];B[cc])", "two passes"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "some.sgf"
    path.write_text(text)
    for source in (text, path):
        with pytest.raises(SourceError, match=reason) as told:
            from_sgf(source)
        assert "\n" not in str(told.value)
    with pytest.raises(SourceError, match=r"some\.sgf"):
        from_sgf(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sgf", tmp_path):
        with pytest.raises(SourceError, match="cannot be read"):
            from_sgf(path)
    (tmp_path / "binary.sgf").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(SourceError, match="not SGF"):
        from_sgf(tmp_path / "binary.sgf")
