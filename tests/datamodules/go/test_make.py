"""Games made: the same however they are made, none lost when stopped; those that ship keep their promises."""

from dataclasses import replace
from pathlib import Path

import pytest

from datamodules import SourceError
from datamodules.go.games import Game, read_about, read_games, shipped, write_games
from datamodules.go.gnugo import GnuGo
from datamodules.go.gtp import EngineError
from datamodules.go.library import split_of
from datamodules.go.make import Making, annotate_game, annotate_games, make_games, play_game
from datamodules.go.rules import replay
from tests.datamodules.go.fake_engine import fake_engine
from tests.datamodules.go.test_gnugo import needs_gnugo

MAKING = Making(size=5, opening=2, noise=0.2, annotator_level=1, plies=3, seed=4)


@pytest.fixture
def program(tmp_path: Path) -> str:
    return fake_engine(tmp_path)


def check(game: Game, plies: int) -> None:
    """A game that is legal to its end, and so are its lines, which stand at Black's positions."""
    passing = game.size**2
    assert replay(game.size, game.moves).over
    for ply, line in game.lines.items():
        assert ply % 2 == 0
        assert ply >= game.opening
        assert line[0] != passing
        end = replay(game.size, [*game.moves[:ply], *line])
        assert len(line) == plies or (end.over and len(line) < plies)
    assert game.values.keys() == (set() if split_of(game) == "train" else game.lines.keys())
    for ply, values in game.values.items():
        assert values[game.lines[ply][0]] == max(values.values())
        assert values.keys() <= replay(game.size, game.moves[:ply]).legal()


def test_games_are_the_same_whatever_the_number_of_engines(tmp_path: Path, program: str) -> None:
    one = make_games(tmp_path / "one.jsonl", MAKING, 30, program=program)
    three = make_games(tmp_path / "three.jsonl.xz", MAKING, 30, processes=3, program=program)
    assert one == three == read_games(tmp_path / "one.jsonl") == read_games(tmp_path / "three.jsonl.xz")
    assert len({game.id for game in one}) == 30
    assert len({tuple(game.moves) for game in one}) > 25
    assert {split_of(game) for game in one} == {"train", "val", "test"}
    for game in one:
        assert game.opening == 2
        check(game, plies=3)
    other = replace(MAKING, seed=5)
    assert [g.moves for g in make_games(tmp_path / "seed.jsonl", other, 3, program=program)] != [
        g.moves for g in one[:3]
    ]


def test_more_games_are_added_and_the_first_ones_stay(tmp_path: Path, program: str) -> None:
    path = tmp_path / "new" / "games.jsonl.xz"
    few = make_games(path, MAKING, 3, program=program)
    more = make_games(path, MAKING, 5, program=program)
    assert more[:3] == few
    assert read_games(path) == more
    # nothing is left to do, and no engine is needed for it
    assert make_games(path, MAKING, 4, program="none") == more[:4]
    with pytest.raises(SourceError, match=r"made with noise 0\.2, not 0.5; give another file"):
        make_games(path, replace(MAKING, noise=0.5), 5)
    assert {"seed": 4, "level": 0}.items() <= read_about(path).items()


def test_what_was_finished_before_a_stop_is_kept(tmp_path: Path, program: str) -> None:
    whole = make_games(tmp_path / "whole.jsonl", MAKING, 8, program=program)
    path = tmp_path / "games.jsonl"
    died = "\n    ".join(  # in its fifth game
        (
            "games = globals().get('games', 0) + (command == 'clear_board')",
            "if games > 8: sys.exit('out of luck')",
        )
    )
    with pytest.raises(EngineError, match=r"died.*out of luck"):
        make_games(path, MAKING, 8, program=fake_engine(tmp_path, died, name="mortal"))
    partial = path.with_name("games.jsonl.partial")
    assert not path.exists()
    assert len(partial.read_text().splitlines()) == 1 + 4
    with open(partial, "a") as file:
        file.write('{"id":"torn by a power cut","mo')
    assert make_games(path, MAKING, 8, program=program) == whole
    assert not partial.exists()
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()

    partial.write_text('{"forma')  # stopped in its first line
    assert make_games(path, MAKING, 9, program=program)[:8] == whole


def test_games_of_others_are_annotated_once(tmp_path: Path, program: str) -> None:
    made = make_games(tmp_path / "made.jsonl", MAKING, 4, program=program)
    bare = [Game(5, game.moves, game.opening, id=game.id) for game in made]
    path = tmp_path / "annotated.jsonl"
    assert annotate_games(path, bare, level=1, plies=3, program=program) == made
    assert annotate_games(path, bare[1:], level=1, plies=3, program="none") == made[1:]
    with pytest.raises(SourceError, match="annotator_level 1, not 2"):
        annotate_games(path, bare, level=2, plies=3, program=program)
    with pytest.raises(SourceError, match="another game that is named gnugo5-4-00000"):
        annotate_games(path, [replace(bare[0], moves=bare[1].moves)], level=1, plies=3, program="none")
    with pytest.raises(SourceError, match="of sizes"):
        annotate_games(path, [], program=program)


def test_annotating_looks_past_the_opening_alone(tmp_path: Path, program: str) -> None:
    with GnuGo(path=program, size=5, timeout=20) as engine:
        game = play_game(engine, MAKING, 0)
        game.opening = 3
        seen = annotate_game(engine, game, level=1, plies=2, judged=True)
    assert min(seen.lines) == 4
    assert seen.lines.keys() == seen.values.keys()
    assert not game.lines


@needs_gnugo
def test_gnugo_plays_the_same_games_alone_and_in_company(tmp_path: Path) -> None:
    making = Making(size=5, opening=8, annotator_level=0, plies=1)
    alone = make_games(tmp_path / "alone.jsonl", making, 3)
    with GnuGo(size=5) as engine:  # in another order, by an engine with a past
        for i in (2, 1):
            game = play_game(engine, making, i)
            judged = split_of(game) != "train"
            assert annotate_game(engine, game, level=0, plies=1, judged=judged) == alone[i]
    for game in alone:
        check(game, plies=1)


@pytest.mark.parametrize(("size", "least", "judged"), [(5, 2500, 300), (7, 297, 80)])
def test_games_that_ship_are_many_small_and_true(size: int, least: int, judged: int) -> None:
    path = shipped(f"go_{size}x{size}.jsonl.xz")
    games, about = read_games(path), read_about(path)
    assert len(games) >= least
    assert path.stat().st_size < 350_000
    assert about["size"] == size
    assert len({game.id for game in games}) == len(games)
    assert sum(len(game.values) for game in games if split_of(game) == "test") >= judged
    for game in games[:: len(games) // 40]:
        assert game.opening == about["opening"]
        check(game, about["plies"])


@needs_gnugo
def test_games_that_ship_can_be_made_again(tmp_path: Path) -> None:
    path = shipped("go_5x5.jsonl.xz")
    about = read_about(path)
    making = Making(**{key: about[key] for key in Making.__dataclass_fields__})
    assert make_games(tmp_path / "again.jsonl", making, 1) == read_games(path)[:1]
    write_games(tmp_path / "few.jsonl", read_games(path)[:2], about)
    assert make_games(tmp_path / "few.jsonl", making, 2, program="none") == read_games(path)[:2]
