"""Where the pictures lie in the published shards of Video-GoBench: a tar of tars, one for each game."""

import hashlib
import io
import json
import logging
import os
import re
import tarfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from datamodules.video_index import CACHE_VARIABLE

PICTURE = re.compile(r"(i_|extra_)?(\d{1,6})\.png")
HEAD, TAIL = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"  # what a whole PNG begins and ends with
KINDS = ("", "i_", "extra_")
FAULTS = ("damaged shards", "damaged games", "damaged pictures")
VERSION = 1  # of the files that remember; raise it when they would be misread

log = logging.getLogger("datamodules")

Picture = tuple[int, int]  # where it begins in its shard, and its bytes


@dataclass(frozen=True)
class Shard:
    """One shard: its games, and the moves of theirs that may be learned.

    names: of the games.  rows: of each picture (game, kind, ply, start, bytes), game by game; kind is a place
    in KINDS.  moves: (game, ply) of each move to learn.  faults: how many of each of FAULTS.
    """

    path: Path
    names: list[str]
    rows: Int[np.ndarray, "p 5"]
    moves: Int[np.ndarray, "m 2"]
    faults: list[int]

    def pictures(self, game: int) -> dict[str, Picture]:
        """The pictures of a game by name, without .png."""
        first, end = np.searchsorted(self.rows[:, 0], (game, game + 1))
        rows = self.rows[first:end].tolist()
        return {f"{KINDS[kind]}{ply}": (start, size) for _, kind, ply, start, size in rows}


def look_into(path: Path) -> Shard:
    """What lies where in a shard; remembered for as long as the file does not change."""
    status = path.stat()
    key = json.dumps([VERSION, str(path.resolve()), status.st_size, status.st_mtime_ns])
    folder = Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/video_world_models").expanduser()
    cache = folder / f"go-shard-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    try:
        with np.load(cache, allow_pickle=False) as kept:
            return Shard(path, kept["names"].tolist(), kept["rows"], kept["moves"], kept["faults"].tolist())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        shard = _read(path)
    new = cache.with_name(f"{cache.stem}.new{os.getpid()}.npz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            new, names=np.array(shard.names, "U"), rows=shard.rows, moves=shard.moves, faults=shard.faults
        )
        new.replace(cache)
    except OSError:
        log.warning("%s: cannot be written; the shards are looked into anew each time", folder)
    return shard


def board_after(pictures: dict[str, Picture], ply: int) -> str | None:
    """The name of the picture after a ply of the game."""
    return next((name for name in (str(ply), f"i_{ply}") if name in pictures), None)


def _read(path: Path) -> Shard:
    names: list[str] = []
    rows: list[tuple[int, int, int, int, int]] = []
    moves: list[tuple[int, int]] = []
    faults = Counter(dict.fromkeys(FAULTS, 0))
    with open(path, "rb") as file:
        outer, whole = _members(file, 0, path.stat().st_size)
        faults["damaged shards"] += not whole
        for name, (start, size) in outer:
            if not name.endswith(".tar"):
                continue
            inner, whole = _members(file, start, size)
            faults["damaged games"] += not whole
            pictures: dict[str, Picture] = {}
            for inside, where in inner:
                known = PICTURE.fullmatch(Path(inside).name)
                if known and _is_whole(file, *where):
                    pictures[f"{known[1] or ''}{int(known[2])}"] = where
                    rows.append((len(names), KINDS.index(known[1] or ""), int(known[2]), *where))
                elif known:
                    faults["damaged pictures"] += 1
            moves += [(len(names), ply) for ply in _moves(pictures)]
            names.append(Path(name).stem)
    return Shard(
        path,
        names,
        np.array(rows, dtype=np.int64).reshape(-1, 5),
        np.array(moves, dtype=np.int64).reshape(-1, 2),
        [faults[what] for what in FAULTS],
    )


def _moves(pictures: dict[str, Picture]) -> list[int]:
    """Plies of Black to learn: the board after it is no mere context, and the one before is there."""
    plies = sorted(int(name) for name in pictures if name.isdigit())
    return [ply for ply in plies if ply % 2 == 0 and (ply == 0 or board_after(pictures, ply - 1))]


def _members(file: io.BufferedReader, start: int, size: int) -> tuple[list[tuple[str, Picture]], bool]:
    """Files of a tar within a file, as far as it is not damaged, and whether it is whole."""
    found: list[tuple[str, Picture]] = []
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.offset_data + member.size > start + size:
                    return found, False
                if member.isfile():
                    found.append((member.name, (member.offset_data, member.size)))
            file.seek(archive.offset)  # where it took what is there for the end
    except tarfile.TarError:
        return found, False
    return found, file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _is_whole(file: io.BufferedReader, start: int, size: int) -> bool:
    file.seek(start)
    head = file.read(len(HEAD))
    file.seek(start + max(0, size - len(TAIL)))
    return head == HEAD and file.read(len(TAIL)) == TAIL
