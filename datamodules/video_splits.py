"""Train, validation and test clips that share no frame, the same on every run and machine."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from datamodules import SourceError, Split
from datamodules.decoding import EPSILON, VideoInfo

SPLITS: tuple[Split, ...] = get_args(Split)
_FOLDERS: dict[str, Split] = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_HELD_OUT = 0.1  # of the videos for validation, and as many for test
_GAP = 0.5  # seconds between the parts of one video


@dataclass(frozen=True)
class Stretch:
    """A video, or a part of one, from which clips are cut.

    first, end: places on the grid of frames k / fps seconds after the first frame, end exclusive.
    """

    name: str
    info: VideoInfo
    text: str
    fps: float
    first: int
    end: int

    def windows(self, num_frames: int, stride: int) -> int:
        """How many clips of num_frames begin in it, one every `stride` places."""
        return max(0, (self.end - self.first - num_frames) // stride + 1)


def grid_length(duration: float, source_fps: float, fps: float) -> int:
    """Number of frames at fps that lie within half a source frame of a frame of the video."""
    return math.floor((duration + 0.5 / source_fps) * fps - EPSILON) + 1


def share_out(stretches: Sequence[Stretch], num_frames: int) -> dict[Split, list[Stretch]]:
    """Which videos, or which part of each, belong to which split.

    1. Folders train/ and val/ (or validation/) or test/ under the root: as they say. A split without a folder
       takes a tenth of train/'s videos.
    2. Three videos or more: a tenth of the videos each for val and test, by a hash of their names, so that
       a video keeps its place when others come; at least one each.
    3. One or two: each by time: the first 80 % for train, then val, then test, half a second apart.

    Raises: SourceError where videos are too few or too short for that.
    """
    folders = {stretch.name: _FOLDERS.get(stretch.name.partition("/")[0]) for stretch in stretches}
    given = {folder for folder in folders.values() if folder}
    if "train" in given and len(given) > 1:
        parts = {split: [s for s in stretches if folders[s.name] == split] for split in SPLITS}
        taken = by_hash(
            [s.name for s in parts["train"]], [s for s in SPLITS if s == "train" or s not in given]
        )
        shared = {split: [s for s in parts["train"] if taken[s.name] == split] for split in SPLITS}
        return {split: shared[split] + (parts[split] if split != "train" else []) for split in SPLITS}
    if len(stretches) >= len(SPLITS):
        taken = by_hash([s.name for s in stretches], SPLITS)
        return {split: [s for s in stretches if taken[s.name] == split] for split in SPLITS}
    return by_time(stretches, num_frames)


def by_hash(names: Sequence[str], splits: Sequence[Split]) -> dict[str, Split]:
    """Name -> split: a tenth of the names for each of val and test, but at least one name a split."""
    if len(names) < len(splits):
        raise SourceError(
            f"data.root: {len(names)} videos in train/ cannot also give {' and '.join(splits[1:])}; "
            f"add {' and '.join(f'{split}/' for split in splits[1:])} folders or more videos"
        )
    places = {name: _place(name) for name in names}
    taken: dict[str, Split] = {}
    for name, place in places.items():
        split: Split = "test" if place < _HELD_OUT else "val" if place < 2 * _HELD_OUT else "train"
        taken[name] = split if split in splits else "train"
    for empty in splits:
        if empty not in taken.values():
            fullest = max(splits, key=list(taken.values()).count)
            taken[min((n for n in names if taken[n] == fullest), key=places.__getitem__)] = empty
    return taken


def by_time(stretches: Sequence[Stretch], num_frames: int) -> dict[Split, list[Stretch]]:
    """Each video cut into train, val and test; one that is too short for three clips is all train."""
    parts: dict[Split, list[Stretch]] = {split: [] for split in SPLITS}
    for whole in stretches:
        gap = math.ceil(max(_GAP, 2 / (whole.info.fps or 1)) * whole.fps)
        held_out = max(num_frames, round(_HELD_OUT * (whole.end - whole.first)))
        test = whole.end - held_out
        val = test - gap - held_out
        train = val - gap
        if train - whole.first < num_frames:
            parts["train"].append(whole)
            continue
        parts["train"].append(replace(whole, end=train))
        parts["val"].append(replace(whole, first=val, end=val + held_out))
        parts["test"].append(replace(whole, first=test))
    if not parts["val"]:
        longest = max(stretches, key=lambda s: (s.end - s.first) / s.fps)
        have, need = (longest.end - longest.first) / longest.fps, 3 * num_frames / longest.fps + 2 * _GAP
        raise SourceError(
            f"data.root: {longest.name} of {have:.1f}s is too short to be cut into train, val and test: that "
            f"takes {need:.1f}s; give three videos or more, or ask for fewer frames or a higher fps"
        )
    return parts


def _place(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
