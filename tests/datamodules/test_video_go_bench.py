"""Video-GoBench's shards, written here as they are published: what a clip shows, what is passed over."""

import io
import logging
import pickle
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ClipSource, SourceError
from datamodules.go.read import BoardReader
from datamodules.go.render import Renderer
from datamodules.go.rules import replay
from datamodules.video_go_bench import VideoGoBench

OFFICIAL = Renderer(size=9, side=256, cell=29)
# the same moves in the middle of each game, and a first one that tells the games apart
MOVES = [40, 30, 41, 31, 42, 32]
BETTER = 60  # what KataGo would have played at ply 4
NAMES = ("i_0", "i_1", "2", "3", "4", "5", "extra_4")


@cache
def png(*moves: int) -> bytes:
    picture = OFFICIAL(replay(9, moves).board[None])[0].transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def game(number: int, names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    """The pictures of a game by name; its first move is its number."""
    moves = [number, *MOVES[1:]]
    found = {}
    for name in names:
        ply = int(name.removeprefix("i_").removeprefix("extra_"))
        found[f"{name}.png"] = png(*moves[:ply], BETTER) if "extra" in name else png(*moves[: ply + 1])
    return found


def tar(members: dict[str, bytes], folder: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        if folder:
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def shard(games: dict[int, dict[str, bytes]]) -> bytes:
    return tar({f"{n:09d}.tar": tar(pictures, f"{n:09d}") for n, pictures in games.items()})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for i in range(2):
        (folder / f"{i:09d}.tar").write_bytes(shard({n: game(n) for n in range(3 * i, 3 * i + 3)}))
    return folder


def source(root: Path | str, num_frames: int = 3, side: int = 256) -> VideoGoBench:
    return VideoGoBench(root=str(root), num_frames=num_frames, height=side, width=side)


def all_clips(made: VideoGoBench) -> dict[str, dict]:
    clips = {}
    for split in ("train", "val", "test"):
        clips |= {
            clip["id"]: clip for clip in map(made.split(split).__getitem__, range(len(made.split(split))))
        }
    return clips


def boards(clip: dict) -> np.ndarray:
    return BoardReader(OFFICIAL).boards(clip["video"].numpy())


def test_clips_show_the_boards_before_and_after_the_move_to_learn(root: Path) -> None:
    made = source(root, num_frames=4)
    assert isinstance(made, ClipSource)
    assert made.spec().num_frames == 4
    clips = all_clips(made)
    # of six plies, Black's are 0, 2, 4; the first is context only
    assert clips.keys() == {f"video_go_bench/{n:09d}/{ply}" for n in range(6) for ply in (2, 4)}
    for number in range(6):
        moves = [number, *MOVES[1:]]
        on = [replay(9, moves[:ply]).board for ply in range(7)]
        clip = clips[f"video_go_bench/{number:09d}/2"]
        assert clip["video"].dtype == torch.uint8
        assert clip["fps"] == 1
        np.testing.assert_array_equal(boards(clip), on[2:6])
        best = replay(9, [*moves[:4], BETTER]).board  # then the last frame is repeated
        np.testing.assert_array_equal(
            boards(clips[f"video_go_bench/{number:09d}/4"]), [on[4], best, best, best]
        )


def test_the_first_move_follows_the_empty_board(tmp_path: Path) -> None:
    for number in range(3):
        pictures = game(number, ("0", "1"))
        (tmp_path / f"{number}.tar").write_bytes(shard({number: pictures}))
    clip = all_clips(source(tmp_path))["video_go_bench/000000002/0"]
    drawn = boards(clip)
    assert not drawn[0].any()
    assert drawn[1].sum() == 1
    assert drawn[2].sum() == 3
    Image.new("RGB", (256, 256), (1, 2, 3)).save(tmp_path / "empty_board.png")
    clip = all_clips(source(tmp_path))["video_go_bench/000000002/0"]
    assert clip["video"][0].float().mean(dim=(1, 2)).tolist() == [1, 2, 3]


def test_a_move_without_the_board_before_it_is_none_to_learn(tmp_path: Path) -> None:
    for number in range(3):
        pictures = game(number, ("2", "3", "4", "5"))  # as published: what came before was dropped
        (tmp_path / f"{number}.tar").write_bytes(shard({number: pictures}))
    assert {name[-2:] for name in all_clips(source(tmp_path))} == {"/4"}


def test_splits_share_no_game_and_are_the_same_again(root: Path) -> None:
    made = source(root, side=32)
    games = {}
    for split in ("train", "val", "test"):
        clips = made.split(split)
        games[split] = {clips.name_of(i).split("/")[1] for i in range(len(clips))}
        again = source(f"{root}/*.tar", side=32).split(split)  # from what was remembered
        again = pickle.loads(pickle.dumps(again))  # as workers get it
        for i in range(len(clips)):
            assert again.key_of(i) == clips.key_of(i)
            assert torch.equal(again[i]["video"], clips[i]["video"])
        with pytest.raises(IndexError):
            clips[len(clips)]
    assert all(games.values())
    assert len(set.union(*games.values())) == sum(map(len, games.values())) == 6


def test_pictures_are_resized(root: Path) -> None:
    clip = source(root, side=64).split("train")[0]
    assert clip["video"].shape == (3, 3, 64, 64)
    orange = clip["video"][0, :, -1, -1].tolist()
    assert orange[0] > 240
    assert orange[2] < 20


def test_what_is_damaged_is_passed_over_and_told_in_one_line(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = all_clips(source(root, side=32))
    torn = {f"{name}.png": game(12)[f"{name}.png"] for name in NAMES}
    torn["4.png"] = torn["4.png"][:-30]
    noise = {**game(13), "5.png": b"no picture", "notes.txt": b"hello", "x_4.png": b""}
    inner = tar(game(14), "000000014")
    members = {
        "000000012.tar": tar(torn, "000000012"),
        "000000013.tar": tar(noise, "000000013"),
        "000000014.tar": inner[: len(inner) // 2 // 512 * 512],
        "000000023.tar": b"\1" * 2048,
        "000000005.tar": tar(game(5), "000000005"),  # it came before
        "readme.txt": b"not a game",
    }
    content = tar(members)
    (root / "000000002.tar").write_bytes(content)
    (root / "000000003.tar").write_bytes(shard({10: game(10), 11: game(11)})[:-40_000])
    (root / "000000004.tar").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        clips = all_clips(source(root, side=32))
    [line] = [record.getMessage() for record in caplog.records]
    assert "\n" not in line
    assert "2 damaged shards, 2 damaged games" in line
    assert "2 damaged pictures" in line
    assert whole.keys() < clips.keys()
    new = clips.keys() - whole.keys()
    assert {"video_go_bench/000000012/2", "video_go_bench/000000013/4", "video_go_bench/000000010/4"} <= new
    assert not any("/000000023/" in name for name in new)


def test_a_picture_that_turns_out_damaged_gives_way_to_the_next_clip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        pictures = game(number)
        if number == 1:  # whole at both ends
            spoilt = bytearray(pictures["3.png"])
            spoilt[60:200] = bytes(140)
            pictures["3.png"] = bytes(spoilt)
        (tmp_path / f"{number}.tar").write_bytes(shard({number: pictures}))
    made = source(tmp_path, num_frames=2, side=32)
    with caplog.at_level(logging.WARNING):
        clips = all_clips(made)
    assert clips.keys() == {f"video_go_bench/{n:09d}/{p}" for n in range(3) for p in (2, 4)} - {
        "video_go_bench/000000001/4"
    }
    assert "video_go_bench/000000001/4: cannot be read" in caplog.text


def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no shards there"):
        source(tmp_path).split("train")
    (tmp_path / "0.tar").write_bytes(shard({1: game(1), 2: game(2)}))
    with pytest.raises(SourceError, match="2 games of Video-GoBench; give at least 3"):
        source(tmp_path / "0.tar").split("train")
    with pytest.raises(SourceError, match="at least 2 frames"):
        source(tmp_path, num_frames=1)
