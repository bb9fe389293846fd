"""Clips of Go: what they show, how they are split, where games come from."""

import pickle
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.clip import ClipSpec
from datamodules import ClipSource, SourceError
from datamodules.go import library, make
from datamodules.go.games import Game, read_games, write_games
from datamodules.go.library import Played, find_games, split_of
from datamodules.go.rules import replay
from datamodules.go.videos import GoVideos
from tests.datamodules.go.random_games import random_game, write_random_games

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("go") / "games.jsonl.xz"
    write_random_games(path, 240)
    return path


def source(path: Path | str, **changes) -> GoVideos:
    given = dict(size=5, num_frames=4, height=32, width=32, cell=6, seed=0)
    return GoVideos(games=str(path), **(given | changes))


def test_a_clip_shows_the_line_of_its_position(path):
    own = source(path, symmetries=False)
    assert isinstance(own, ClipSource)
    games = {game.id: game for game in read_games(path)}
    for split in SPLITS:
        clips = own.split(split)
        for index in range(0, len(clips), 7):
            clip, placed = clips[index], clips.position(index)
            game = games[placed.game]
            assert split_of(game) == split
            assert placed.line == game.lines[placed.ply]
            assert placed.values == game.values[placed.ply]
            assert placed.moves == game.moves[: placed.ply]
            assert placed.position.black_to_move
            assert placed.position.ply == placed.ply >= game.opening
            position, boards = placed.position, [placed.position.board]
            for point in placed.line[:3]:
                position = position.child(point)
                boards.append(position.board)
            assert torch.equal(clip["video"], torch.from_numpy(own.renderer(np.stack(boards))))
            assert clip["state"].tolist() == np.stack(boards).reshape(4, -1).tolist()
            assert clip["actions"].flatten().tolist() == placed.line[:3]
            assert clip["id"] == f"go/{game.id}/{placed.ply}/0"


def test_spec_tells_what_clips_are(path):
    own = source(path)
    spec, clip = own.spec(), own.split("val")[0]
    assert isinstance(spec, ClipSpec)
    assert clip["video"].shape == (spec.num_frames, 3, spec.height, spec.width)
    assert clip["video"].dtype == torch.uint8
    assert clip["state"].shape == (spec.num_frames, spec.state_dim)
    assert clip["actions"].shape == (spec.num_frames - 1, spec.action_dim)
    assert clip["state"].dtype == clip["actions"].dtype == torch.float32
    assert clip["fps"] == 1.0
    assert len(spec.state_names) == 25
    assert own.action_names[0] == "A5"
    assert own.action_names[-2:] == ("E1", "pass")


def test_symmetries_turn_board_line_and_picture_together(path):
    plain, turned = source(path, symmetries=False).split("train"), source(path).split("train")
    assert len(turned) == 8 * len(plain)
    for position in range(0, len(plain), 29):
        boards = set()
        for symmetry in range(8):
            clip = turned[8 * position + symmetry]
            state = clip["state"].numpy().astype(np.int8).reshape(4, 5, 5)
            assert np.array_equal(clip["video"].numpy(), turned.renderer(state))
            for before, after, action in zip(
                state, state[1:], clip["actions"].flatten().int().tolist(), strict=False
            ):
                assert before.flat[action] == 0
                assert after.flat[action] != 0
            boards.add(state.tobytes())
            assert sorted(state[0].flat) == sorted(plain[position]["state"][0].tolist())
            assert clip["id"] == f"{plain[position]['id'][:-1]}{symmetry}"
            assert turned.position(8 * position + symmetry).moves == plain.position(position).moves
        assert plain[position]["state"].numpy().astype(np.int8).tobytes() in boards
        assert len(boards) == 8  # random boards have no symmetry of their own


def _turned(board: np.ndarray) -> set[bytes]:
    return {np.rot90(b, k).tobytes() for b in (board, board.T) for k in range(4)}


def test_held_out_boards_are_new_in_every_symmetry_and_none_comes_twice(path):
    own = source(path, symmetries=False)
    seen = set()
    for game in read_games(path):
        if split_of(game) == "train":
            for ply in range(len(game.moves) + 1):
                position = replay(5, game.moves[:ply])
                seen.add(position.board.tobytes())
                for point in game.lines.get(ply, []):
                    position = position.child(point)
                    seen.add(position.board.tobytes())
    for split in ("val", "test"):
        clips = own.split(split)
        of_split = sum(len(game.lines) for game in read_games(path) if split_of(game) == split)
        boards = [clips.position(i).position.board for i in range(len(clips))]
        turned = [_turned(board) for board in boards]
        assert len(clips) > 20
        assert len(clips) + clips.left_out == of_split
        assert not any(seen & of_one for of_one in turned)
        assert max(Counter(min(of_one) for of_one in turned).values()) == 1


def test_known_boards_are_left_out(tmp_path):
    """A test game that is a training game's mirror image, but for its last two moves, has one new board."""
    train = next(seed for seed in range(99) if split_of(Game(5, [], id=f"random{seed}")) == "train")
    game = random_game(train)
    mirrored = [row * 5 + 4 - column for row, column in (divmod(point, 5) for point in game.moves)]
    ids = {
        split: next(f"{i}" for i in range(999) if split_of(Game(5, [], id=f"{i}")) == split)
        for split in SPLITS
    }
    last = replay(5, mirrored[:10])
    for _ in range(2):
        mirrored[last.ply :] = [min(last.legal() - set(mirrored))]
        last.play(mirrored[-1])
    copy = Game(5, [*mirrored, min(last.legal())], 4, id=ids["test"])
    assert len(copy.moves) == 13
    other = Game(5, random_game(1000).moves, 4, id=ids["val"])
    write_games(tmp_path / "games.jsonl", [game, copy, other], {})
    clips = source(tmp_path / "games.jsonl", targets="played").split("test")
    assert clips.left_out == 4  # plies 4, 6, 8 and 10
    assert [clips.position(i).ply for i in range(len(clips))] == [12]


def test_the_last_frame_is_repeated_where_a_line_ends(tmp_path):
    games = write_random_games(tmp_path / "games.jsonl", 120)
    for game in games:
        game.lines = {ply: [line[0], 25] for ply, line in game.lines.items()}
    write_games(tmp_path / "games.jsonl", games, {})
    clip = source(tmp_path / "games.jsonl", num_frames=6).split("train")[3]
    assert (clip["video"][1:] == clip["video"][1]).all()
    assert (clip["state"][1:] == clip["state"][1]).all()
    assert not torch.equal(clip["video"][0], clip["video"][1])
    assert clip["actions"].flatten().tolist()[1:] == [25] * 4


def test_played_moves_as_targets(path):
    own = source(path, targets="played", symmetries=False)
    clips = own.split("train")
    games = {game.id: game for game in read_games(path)}
    for index in range(0, len(clips), 31):
        placed = clips.position(index)
        assert placed.line == games[placed.game].moves[placed.ply :]
        assert clips[index]["actions"].flatten().tolist()[: len(placed.line)] == placed.line[:3]
    last = next(i for i in range(len(clips)) if clips.position(i).ply == 10)
    assert clips[last]["actions"].flatten()[-1] == 25  # two moves were left


def test_games_without_lines_are_told(tmp_path):
    write_games(
        tmp_path / "games.jsonl", [Game(5, random_game(i).moves, 4, id=str(i)) for i in range(80)], {}
    )
    with pytest.raises(
        SourceError, match=r"80 games have no annotated moves for train; set data.targets=played"
    ):
        source(tmp_path / "games.jsonl").split("train")
    assert len(source(tmp_path / "games.jsonl", targets="played").split("train")) > 0


def test_keys_tell_the_moves_and_nothing_else(path, tmp_path):
    own = source(path)
    clips = own.split("train")
    keys = [clips.key_of(i) for i in range(0, len(clips), 5)]
    assert len(set(keys)) == len(keys)
    games = read_games(path)
    first = next(game for game in games if split_of(game) == "train")
    first.lines[4][0] = 25
    write_games(tmp_path / "moved.jsonl", games, {})
    other = source(tmp_path / "moved.jsonl").split("train")
    changed = [i for i in range(len(clips)) if clips.key_of(i) != other.key_of(i)]
    assert changed == list(range(8))
    assert own.settings() == source(tmp_path / "moved.jsonl").settings()
    assert own.settings() != source(path, cell=5).settings()


def test_clips_are_the_same_in_another_process(path):
    clips = source(path).split("train")
    again = pickle.loads(pickle.dumps(clips))
    for index in (0, 7, len(clips) - 1):
        assert torch.equal(clips[index]["video"], again[index]["video"])
        assert clips[index]["id"] == again[index]["id"]
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_a_clip_takes_less_than_a_millisecond(path):
    clips = source(path).split("train")
    times = []
    for index in range(0, 2_000, 4):
        begin = time.perf_counter()
        clips[index]
        times.append(time.perf_counter() - begin)
    assert np.median(times) < 1e-3


def test_mistakes_are_told_in_one_line(path, tmp_path):
    cases = [
        (dict(width=40), "4 frames of 32x40; give at least 2 frames, as high as wide"),
        (dict(num_frames=1), "give at least 2 frames"),
        (dict(size=20), "a board of 20x20 points; give a size of 2 to 19"),
        (dict(cell=9), "5 lines every 9 pixels on 32x32 pixels; give a cell of 3 to 6"),
        (dict(count=0), "0 games by 1 engines"),
    ]
    for changes, told in cases:
        with pytest.raises(SourceError, match=told):
            source(path, **changes)
    later = [
        (path, 4, "games on 5x5 boards; set data.size to the one they have"),
        (tmp_path / "no.jsonl", 5, "no such file, or no games in it; set data.count=1000"),
        (tmp_path, 5, "no .sgf there; give shipped, a file of games"),
        ("shipped", 6, "no games go_6x6.jsonl.xz come with the project"),
    ]
    for games, size, told in later:
        with pytest.raises(SourceError, match=told) as error:
            source(games, size=size, cell=5).split("train")
        assert "\n" not in str(error.value)


def test_illegal_moves_in_a_file_name_the_game(tmp_path):
    games = write_random_games(tmp_path / "games.jsonl", 120)
    games[0].lines[4][1] = games[0].lines[4][0]
    write_games(tmp_path / "games.jsonl", games, {})
    with pytest.raises(
        SourceError, match=r"go: game random0, ply 5: .* is not legal for White; take the game out"
    ):
        source(tmp_path / "games.jsonl").split("train")[0]


def test_games_that_are_missing_are_played_and_added(path, monkeypatch):
    asked = []

    def make_games(path, making, count, *, processes):
        asked.append((path, making, count, processes))
        return [random_game(seed) for seed in range(count)]

    monkeypatch.setattr(make, "make_games", make_games)
    assert len(find_games(str(path), 5, Played(100, 0, 5, 3, 2))) == 100
    assert not asked
    assert len(find_games(str(path), 5, Played(300, 1, 7, 3, 2))) == 300
    given, making, count, processes = asked[0]
    assert (given, count, processes) == (path, 300, 2)
    assert (making.size, making.level, making.annotator_level, making.seed) == (5, 1, 7, 3)
    monkeypatch.setattr(library, "shipped", lambda name: path)
    with pytest.raises(SourceError, match=r"shipped has 240 games; set data.games to a file \(\*.jsonl\)"):
        find_games("shipped", 5, Played(300, 0, 5, 0, 1))


def test_games_without_lines_are_given_some(path, monkeypatch, tmp_path):
    asked = []

    def annotate_games(path, games, *, level, processes):
        asked.append((path, level, processes))
        return [replace(game, lines={4: [0]}) for game in games]

    monkeypatch.setattr(make, "annotate_games", annotate_games)
    file = str(tmp_path / "lines.jsonl")
    own = source(path, annotations=file, annotator_level=3, engines=2)
    assert all(game.lines == {4: [0]} for game, _ in own.known["train"])
    assert asked == [(tmp_path / "lines.jsonl", 3, 2)]
    with pytest.raises(SourceError, match=r"data.annotations=lines.txt: give a file \*.jsonl"):
        source(path, annotations="lines.txt").split("train")


def test_held_out_games_stay_where_they_are_when_others_come(path):
    few = {game.id: split_of(game) for game in read_games(path)[:100]}
    assert all(split_of(game) == few.get(game.id, split_of(game)) for game in read_games(path))
    counts = Counter(split_of(Game(5, [], id=f"game {i}")) for i in range(4_000))
    assert 3_500 < counts["train"] < 3_700
    assert min(counts["val"], counts["test"]) > 150


def test_games_that_come_with_the_project_need_no_engine(monkeypatch):
    monkeypatch.setenv("PATH", "")
    own = source("shipped")
    assert len(own.split("train")) > 20_000
    for split in ("val", "test"):
        clips = own.split(split)
        assert len(clips) >= 100
        assert all(clips.position(i).values for i in range(0, len(clips), 10))
        assert torch.isfinite(clips[0]["video"].float()).all()


def test_games_from_sgf(tmp_path, caplog):
    pytest.importorskip("sgfmill")
    from datamodules.go.sgf import to_sgf

    for seed in range(120):
        (tmp_path / "games" / str(seed % 3)).mkdir(parents=True, exist_ok=True)
        text = to_sgf(random_game(seed), ("one", "other"), "Void")
        (tmp_path / "games" / str(seed % 3) / f"{seed}.sgf").write_text(text)
    one = tmp_path / "games" / "0" / "0.sgf"
    assert [game.moves for game in find_games(str(one), 5)] == [random_game(0).moves]
    (tmp_path / "games" / "broken.sgf").write_text("(;GM[1]")
    (tmp_path / "games" / "large.sgf").write_text("(;GM[1]SZ[9];B[aa];W[bb])")
    own = source(tmp_path / "games", targets="played")
    assert sum(len(of_split) for of_split in own.known.values()) == 120 * 6
    assert "skipped 2 of 122" in caplog.text
    assert "large.sgf" in caplog.text
    assert len(find_games(str(tmp_path / "games" / "*" / "*.sgf"), 5)) == 120
    with pytest.raises(SourceError, match=r"no usable game; a 9x9 board, not 5x5: .*large.sgf"):
        find_games(str(tmp_path / "games" / "large.sgf"), 5)
