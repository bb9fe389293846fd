"""GNU Go where it is installed, and one line where it is not."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datamodules.go.gnugo import GAMES_FOLDERS, VARIABLE, GnuGo
from datamodules.go.gtp import EngineError
from datamodules.go.rules import Position
from tests.datamodules.go.fake_engine import fake_engine

needs_gnugo = pytest.mark.skipif(
    not (os.environ.get(VARIABLE) or shutil.which("gnugo") or shutil.which("gnugo", path=GAMES_FOLDERS)),
    reason="GNU Go is not installed",
)


@pytest.fixture(scope="module")
def gnugo() -> Iterator[GnuGo]:
    with GnuGo(size=5) as engine:
        yield engine


def test_a_missing_program_is_told_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("datamodules.go.gnugo.GAMES_FOLDERS", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(EngineError, match=r"apt-get install gnugo.*\$GNUGO"):
        GnuGo(size=5)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(EngineError, match=r"\$GNUGO is .*none"):
        GnuGo(size=5)
    with pytest.raises(EngineError, match="the path given is nowhere"):
        GnuGo(path="nowhere", size=5)
    with pytest.raises(EngineError, match="5x5 to 19x19, not 4x4"):
        GnuGo(size=4)


def test_the_program_is_found_by_variable_and_by_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv(VARIABLE, fake_engine(tmp_path, name="mine"))
    with GnuGo(size=5) as engine:
        assert engine.name == "mine"
    monkeypatch.delenv(VARIABLE)
    fake_engine(tmp_path, name="gnugo")
    monkeypatch.setattr("datamodules.go.gnugo.GAMES_FOLDERS", str(tmp_path))
    with GnuGo(size=5) as engine:
        assert engine.command[0] == str(tmp_path / "gnugo")


@pytest.mark.parametrize("answer", ["", "B+", "B+x", "X+3", "K9", "resign"])
def test_answers_that_make_no_sense_are_told(tmp_path: Path, answer: str) -> None:
    with GnuGo(path=fake_engine(tmp_path, f"answer = {answer!r}"), size=5, timeout=20) as engine:
        with pytest.raises(EngineError, match="no point of a 5x5 board"):
            engine.look(True)
        with pytest.raises(EngineError, match="as the score"):
            engine.score()


@needs_gnugo
def test_legal_moves_and_boards_are_those_of_our_rules(gnugo: GnuGo) -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    for game in range(6):
        gnugo.new_game(game)
        position = Position(5)
        for _ in range(40):
            if position.over:
                break
            assert gnugo.legal(position.black_to_move) == position.legal()
            point = int(rng.choice(sorted(position.legal())))
            gnugo.play(position.black_to_move, point)
            position.play(point)


@needs_gnugo
def test_looking_changes_nothing_and_undo_takes_back(gnugo: GnuGo) -> None:
    gnugo.new_game(0)
    for black, point in ((True, 12), (False, 7), (True, 13), (False, 11)):
        gnugo.play(black, point)
    legal = gnugo.legal(True)
    best = gnugo.look(True)
    assert gnugo.look(True) == best
    assert gnugo.legal(True) == legal
    assert gnugo.considered(True) == (best, gnugo.values(True))
    assert gnugo.choose(True) not in gnugo.legal(False)
    gnugo.undo()
    assert gnugo.legal(True) == legal
    with pytest.raises(EngineError, match="refuses 'play black C3': illegal move"):
        gnugo.play(True, 12)


@needs_gnugo
def test_values_hold_the_best_move_with_the_highest_value(gnugo: GnuGo) -> None:
    gnugo.new_game(0)
    black = True
    for _ in range(10):
        best, values = gnugo.considered(black)
        assert values[best] == max(values.values())
        assert values.keys() <= gnugo.legal(black)
        gnugo.play(black, best)
        black = not black
    gnugo.play(black, 25)
    gnugo.play(not black, 25)
    assert gnugo.values(black)


@needs_gnugo
def test_the_score_counts_komi_and_captures_of_the_dead(gnugo: GnuGo) -> None:
    gnugo.new_game(0)
    for point in (10, 11, 12, 13, 14):
        gnugo.play(True, point)
    assert gnugo.score() == 25 - 5.5
    with GnuGo(size=5, komi=0.5) as engine:
        engine.play(False, 12)
        assert engine.score() < 0


@needs_gnugo
def test_the_same_seed_and_commands_give_the_same_game(gnugo: GnuGo) -> None:
    games = []
    for seed in (1, 2, 1, 2**40 + 1):  # seeds count modulo 2**31
        gnugo.new_game(seed)
        games.append([gnugo.choose(ply % 2 == 0) for ply in range(8)])
    assert games[0] == games[2] == games[3]
