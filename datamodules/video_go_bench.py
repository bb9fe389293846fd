"""The published shards of Video-GoBench: pictures of 9x9 games, and of what KataGo would have played."""

import glob
import io
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.decoding import as_video
from datamodules.go.shards import FAULTS, Picture, Shard, board_after, look_into
from datamodules.stills import fit
from datamodules.video_splits import SPLITS, by_hash

FRAMES_PER_SECOND = 1.0
EMPTY_BOARD = "empty_board.png"
TRIES = 100  # clips in a row that may turn out damaged when they are read

log = logging.getLogger("datamodules")


class VideoGoBench:
    """A ClipSource of Video-GoBench as published: tar shards, each with a tar of pictures for every game.

    Of a game, `k.png` is the board after ply k, 0 being Black's first; `i_k.png` the same where it is
    context only; `extra_k.png` the board after the move that KataGo would have made at ply k. A clip is the
    board before a move of Black and the board after KataGo's; or, where that is not there, after Black's own
    and after the moves that followed in the game. Where there are no more, the last frame is repeated.

    Shards are read in place, and what lies where in them is remembered in the cache folder. Games are split
    by a hash of their names: a tenth each for val and test.

    Clip: video (t, 3, h, w); fps 1; id video_go_bench/GAME/PLY.

    Args:
        root: a shard, a folder of shards (*.tar), or a glob. empty_board.png may lie beside them; else the
            empty board is drawn.

    Raises: SourceError. Shards, games and pictures that are damaged are passed over and told in one line.
    Source: VideoWorld (arXiv 2501.09781), and the released reader of these files.
    """

    def __init__(self, *, root: str, num_frames: int, height: int, width: int) -> None:
        if num_frames < 2 or height < 1 or width < 1:
            raise SourceError(
                f"video_go_bench: {num_frames} frames of {height}x{width}; give at least 2 frames of 1x1"
            )
        self.root, self.num_frames, self.height, self.width = root, num_frames, height, width

    def spec(self) -> ClipSpec:
        return ClipSpec(num_frames=self.num_frames, height=self.height, width=self.width)

    def split(self, name: Split) -> "VideoGoBenchClips":
        """The clips of one split as a map-style data set. Raises: SourceError for too few games."""
        return VideoGoBenchClips(self, self.moves[name])

    @cached_property
    def shards(self) -> list[Shard]:
        from rich.progress import track

        path = Path(self.root).expanduser()
        paths = sorted(path.glob("*.tar")) if path.is_dir() else map(Path, sorted(glob.glob(str(path))))
        found = [p for p in paths if p.is_file()]
        if not found:
            raise SourceError(
                f"data.root={self.root}: no shards there; give a .tar, a folder of them or a glob"
            )
        try:
            return [look_into(p) for p in track(found, "looking into shards", transient=True)]
        except OSError as error:
            raise SourceError(f"data.root={self.root}: {error.filename}: {error.strerror}") from error

    @cached_property
    def moves(self) -> dict[Split, Int[np.ndarray, "n 3"]]:
        """Split -> (shard, game, ply) of every move to learn."""
        places: dict[str, tuple[int, int]] = {}
        for number, shard in enumerate(self.shards):
            for game in np.unique(shard.moves[:, 0]).tolist():
                places.setdefault(shard.names[game], (number, game))
        self._tell_faults()
        if len(places) < len(SPLITS):
            raise SourceError(
                f"data.root={self.root}: {len(places)} games of Video-GoBench; "
                f"give at least {len(SPLITS)}, so that each split has one"
            )
        split_of = {places[name]: split for name, split in by_hash(list(places), SPLITS).items()}
        taken: dict[Split, list[np.ndarray]] = {split: [] for split in SPLITS}
        for number, shard in enumerate(self.shards):
            games = [split_of.get((number, game)) for game in range(len(shard.names))]
            for split in SPLITS:
                mine = np.array([of_game == split for of_game in games], dtype=bool)
                moves = shard.moves[mine[shard.moves[:, 0]]]
                taken[split].append(np.insert(moves, 0, number, axis=1))
        return {split: np.concatenate(moves) for split, moves in taken.items()}

    @cached_property
    def empty_board(self) -> bytes:
        """The picture before the first move, as a file."""
        for folder in {shard.path.parent for shard in self.shards}:
            if (folder / EMPTY_BOARD).is_file():
                return (folder / EMPTY_BOARD).read_bytes()
        from datamodules.go.render import Renderer

        board = Renderer(size=9, side=256, cell=29)(np.zeros((1, 9, 9), dtype=np.int8))[0]
        drawn = io.BytesIO()
        Image.fromarray(board.transpose(1, 2, 0)).save(drawn, "png")
        return drawn.getvalue()

    def _tell_faults(self) -> None:
        faults = np.array([shard.faults for shard in self.shards]).sum(axis=0).tolist()
        told = ", ".join(f"{count} {what}" for count, what in zip(faults, FAULTS, strict=True) if count)
        if told:
            log.warning("data.root=%s: passed over %s", self.root, told)


class VideoGoBenchClips(Dataset):
    """Clips of these moves, (shard, game, ply) each."""

    def __init__(self, source: VideoGoBench, moves: Int[np.ndarray, "n 3"]) -> None:
        self.num_frames, self.height, self.width = source.num_frames, source.height, source.width
        self.shards, self.empty_board, self.moves = source.shards, source.empty_board, moves

    def __len__(self) -> int:
        return len(self.moves)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One clip; where it turns out damaged, the next one that does not."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        for place in range(index, index + TRIES):
            name = self.name_of(place % len(self))
            try:
                video = self._video(place % len(self))
            except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's for a bad chunk
                log.warning("%s: cannot be read (%s); the next clip is taken", name, error)
                continue
            return dict(video=as_video(video), fps=torch.tensor(FRAMES_PER_SECOND), id=name)
        raise SourceError(
            f"{self.name_of(index)}: {TRIES} clips in a row cannot be read; copy the shards anew"
        )

    def name_of(self, index: int) -> str:
        shard, game, ply = self.moves[index].tolist()
        return f"video_go_bench/{self.shards[shard].names[game]}/{ply}"

    key_of = name_of

    def _video(self, index: int) -> UInt8[np.ndarray, "t h w 3"]:
        number, game, ply = self.moves[index].tolist()
        shard = self.shards[number]
        pictures = shard.pictures(game)
        with open(shard.path, "rb") as file:
            shown = [self._picture(file, name, pictures) for name in frames(pictures, ply, self.num_frames)]
        return np.stack(shown + [shown[-1]] * (self.num_frames - len(shown)))

    def _picture(
        self, file: io.BufferedReader, name: str, pictures: dict[str, Picture]
    ) -> UInt8[np.ndarray, "h w 3"]:
        content = self.empty_board
        if name != EMPTY_BOARD:
            start, size = pictures[name]
            file.seek(start)
            content = file.read(size)
        return fit(Image.open(io.BytesIO(content)).convert("RGB"), self.height, self.width)


def frames(pictures: dict[str, Picture], ply: int, num_frames: int) -> list[str]:
    """Names of the pictures of a clip: before a ply, after it, and on; fewer where there are no more."""
    before = board_after(pictures, ply - 1) if ply else EMPTY_BOARD
    assert before is not None  # else it would be no move to learn
    if f"extra_{ply}" in pictures:
        return [before, f"extra_{ply}"]
    after: list[str] = []
    while len(after) < num_frames - 1 and (name := board_after(pictures, ply + len(after))):
        after.append(name)
    return [before, *after]
