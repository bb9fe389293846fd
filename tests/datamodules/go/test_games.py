"""Files of games: what is written is read, what is damaged is told."""

import lzma

import pytest

from datamodules import SourceError
from datamodules.go.games import (
    Game,
    decode,
    encode,
    positions,
    read_about,
    read_games,
    shipped,
    spell,
    write_games,
)
from tests.datamodules.go.random_games import random_game, write_random_games


@pytest.mark.parametrize("name", ["games.jsonl", "games.jsonl.xz"])
def test_what_is_written_is_read(tmp_path, name):
    games = [random_game(seed) for seed in range(5)]
    games.append(Game(19, [360, 0, 361, 361], 2, {2: [361]}, {2: {361: -0.5, 3: 2.0}}, "long"))
    write_games(tmp_path / name, games, {"level": 3})
    assert read_games(tmp_path / name) == games
    assert read_about(tmp_path / name)["level"] == 3
    assert not list(tmp_path.glob("*.new*"))


def test_moves_are_spelt_as_in_sgf():
    assert spell([1, 5, 24, 25], 5) == "baabeett"
    game = Game(9, [0, 80, 81], 0, {0: [40]}, {0: {40: 1.5}}, "a")
    assert decode(encode(game), "here") == game
    assert '"moves":"aaiitt"' in encode(game)


def test_a_large_file_is_small(tmp_path):
    write_random_games(tmp_path / "games.jsonl.xz", 200, plies=14)
    assert (tmp_path / "games.jsonl.xz").stat().st_size < 200 * 100


def test_positions_are_black_ones_past_the_opening():
    games = [Game(5, list(range(8)), 3), Game(5, list(range(5)), 4), Game(5, [], 0)]
    assert [(game is games[0], ply) for game, ply in positions(games)] == [(True, 4), (True, 6), (False, 4)]


def test_damaged_files_are_told_in_one_line(tmp_path):
    good = tmp_path / "good.jsonl.xz"
    write_random_games(good, 20)
    content = good.read_bytes()
    cases = {
        "cut.jsonl.xz": (content[:-40], "damaged"),
        "other.jsonl.xz": (b"nothing like it", "damaged"),
        "header.jsonl": (b'{"format": "others"}\n', "its first line is not that of a file of games"),
        "empty.jsonl": (b"", "its first line is not that of a file of games"),
        "bytes.jsonl": (b"\xff\xfe\x00", "damaged"),
    }
    head = lzma.decompress(content).split(b"\n")[0] + b"\n"
    lines = {
        "json": (b'{"id": ', "JSONDecodeError"),
        "point": (b'{"id":"a","size":5,"opening":0,"moves":"zz"}', "'zz' is no point of a 5x5 board"),
        "odd": (b'{"id":"a","size":5,"opening":0,"moves":"aab"}', "moves of two letters each"),
        "key": (b'{"id":"a","size":5,"moves":"aa"}', "KeyError: 'opening'"),
        "kind": (b'{"id":"a","size":5,"opening":0,"moves":"aa","lines":[]}', "AttributeError"),
        "list": (b"[]", "TypeError"),
    }
    cases |= {
        f"{name}.jsonl": (head + line + b"\n", rf"line 2: not a game.*{why}")
        for name, (line, why) in lines.items()
    }
    for name, (bad, why) in cases.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(SourceError, match=why) as told:
            read_games(tmp_path / name)
        assert name in str(told.value)
        assert "\n" not in str(told.value)
    with pytest.raises(SourceError, match="cannot be read"):
        read_games(tmp_path / "missing.jsonl")


def test_games_that_do_not_ship_are_told():
    with pytest.raises(SourceError, match=r"no games go_6x6\.jsonl\.xz come with the project; there are: "):
        shipped("go_6x6.jsonl.xz")
