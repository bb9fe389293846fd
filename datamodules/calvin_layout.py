"""Where things lie in a folder of CALVIN's: a file a frame, and tables of what the frames belong to."""

import json
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datamodules import SourceError, Split
from datamodules.decoding import Unreadable
from datamodules.plain_pickles import load_plain
from datamodules.video_splits import by_hash

FOLDERS = ("training", "validation")
EPISODES = "ep_start_end_ids.npy"
ANNOTATIONS = "lang_annotations/auto_lang_ann.npy"
STATE_NAMES = "state_names.json"
RECORDING = "recording.json"
WIDTHS = {"robot_obs": 15, "scene_obs": 24, "rel_actions": 7, "actions": 7}
_FPS = 30.0  # of all that the CALVIN project has published, whose files do not say it
_POSE = ("x", "y", "z", "roll", "pitch", "yaw")
_ACTION_NAMES = (*_POSE, "gripper")
_NAMES = {
    "rel_actions": _ACTION_NAMES,
    "actions": _ACTION_NAMES,
    "robot_obs": (
        *(f"tcp_{part}" for part in _POSE),
        "gripper_width",
        *(f"arm_joint_{joint}" for joint in range(1, 8)),
        "gripper_action",
    ),
    "scene_obs": (
        *("sliding_door", "drawer", "button", "switch", "lightbulb", "green_light"),
        *(f"{block}_{part}" for block in ("red", "blue", "pink") for part in _POSE),
    ),
}


@dataclass(frozen=True)
class Stretch:
    """Frames of one folder without a break, both ends included.

    label: what its clips are called by; text: what is done in them.
    """

    folder: str
    first: int
    last: int
    label: str = ""
    text: str = ""

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class CalvinLayout:
    """A folder with training/ and, as a rule, validation/ in it.

    Raises SourceError where a table or the first frame cannot be read.
    Source: https://github.com/mees/calvin, dataset/README.md.
    """

    def __init__(self, root: str) -> None:
        self.root, self.folder = root, Path(root).expanduser()
        if not (self.folder / "training" / EPISODES).is_file():
            raise SourceError(
                f"data.root={root}: no training/{EPISODES}; give a folder in CALVIN's layout, like task_D_D"
            )
        self._episodes = {folder: self._read_episodes(folder) for folder in FOLDERS}

    @cached_property
    def fps(self) -> float:
        """Frames per second: as record.py noted it, or CALVIN's own."""
        return float(self._noted(RECORDING).get("fps", _FPS))

    @cached_property
    def _used(self) -> dict[str, list[str]]:
        """The names of the first numbers of robot_obs and scene_obs, the others being unused."""
        return self._noted(STATE_NAMES)

    def names(self, key: str) -> tuple[str, ...]:
        """One name for each number of an array that is used."""
        width = self.looked_into[key].size
        names = tuple(self._used.get(key, _NAMES.get(key, ())))
        if key in self._used:
            return names[:width]
        return names if len(names) == width else tuple(f"{key}[{i}]" for i in range(width))

    def require(self, keys: Sequence[str], argument: str) -> None:
        """See that frames have these arrays of numbers."""
        for key in keys:
            if key not in self.looked_into or self.looked_into[key].ndim != 1:
                there = [name for name, value in self.looked_into.items() if value.ndim == 1]
                told = f"no {argument}={key!r} in its frames; there are: {', '.join(there) or 'none'}"
                raise SourceError(f"data.root={self.root}: {told}; null goes without")

    def camera(self, name: str) -> str:
        """The array of a camera, given with or without rgb_."""
        pictures = [key for key in self.looked_into if key.startswith("rgb_")]
        for key in pictures:
            if name in (key, key.removeprefix("rgb_")) and is_picture(self.looked_into[key]):
                return key
        there = ", ".join(pictures) or "none"
        raise SourceError(f"data.root={self.root}: no camera {name!r} in its frames; there are: {there}")

    @cached_property
    def looked_into(self) -> dict[str, np.ndarray]:
        """All arrays of the first frame that opens; every frame has the same."""
        problem = "no episode in it"
        for first, _ in self._episodes["training"][:20]:
            try:
                with np.load(self.file("training", first), allow_pickle=False) as arrays:
                    return {key: arrays[key] for key in arrays.files}
            except _BROKEN as error:
                problem = f"{self.file('training', first).name} does not open ({_in_words(error)})"
        raise SourceError(f"data.root={self.root}: {problem}; fetch the data set again")

    def file(self, folder: str, number: int) -> Path:
        return self.folder / folder / frame_name(number)

    def frame(self, folder: str, number: int, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Some arrays of a frame; of the others nothing is read. Raises Unreadable."""
        try:
            with np.load(self.file(folder, number), allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in keys}
        except _BROKEN as error:
            raise Unreadable(f"{frame_name(number)} does not open: {_in_words(error)}") from error
        for key, value in found.items():
            like = self.looked_into[key]
            fits = is_picture(value) if is_picture(like) else value.shape == like.shape
            if not fits or value.dtype.kind not in "biuf":
                raise Unreadable(f"{key} of {frame_name(number)} is {value.shape} {value.dtype}")
        return found

    def episodes(self) -> dict[Split, list[Stretch]]:
        """Disjoint episodes for each split, the same on every machine.

        The first half of validation/ is for validation, the second for test. A single episode there is for
        validation, and test takes one in ten of training/'s, at least one; where that has one as well, the
        two halves of the one in validation/ serve. Without validation/, both are taken from training/.
        """
        training, held_out = ([Stretch(f, *e) for e in self._episodes[f]] for f in FOLDERS)
        if len(held_out) > 1:
            half = (len(held_out) + 1) // 2
            return {"train": training, "val": held_out[:half], "test": held_out[half:]}
        if held_out and len(training) == 1:
            first, last = held_out[0].first, held_out[0].last
            middle = (first + last + 1) // 2
            val, test = Stretch("validation", first, middle - 1), Stretch("validation", middle, last)
            return {"train": training, "val": [val], "test": [test]}
        lacking: list[Split] = ["test"] if held_out else ["val", "test"]
        if len(training) < 1 + len(lacking):
            told = f"{len(training)} episodes in training/ and none in validation/"
            raise SourceError(f"data.root={self.root}: {told}; train, val and test need one each")
        taken = by_hash([str(e.first) for e in training], ["train", *lacking])
        drawn = {name: [e for e in training if taken[str(e.first)] == name] for name in ("train", *lacking)}
        return {"train": drawn["train"], "val": held_out or drawn["val"], "test": drawn["test"]}

    def annotated(self, within: Sequence[Stretch]) -> tuple[list[Stretch], int]:
        """The segments with words that lie in these episodes; and how many begin there and end beyond."""
        places = sorted(within, key=lambda e: (e.folder, e.first))
        firsts = [(e.folder, e.first) for e in places]
        found, beyond = [], 0
        for folder in sorted({e.folder for e in within}):
            for segment in self._segments(folder):
                place = bisect_right(firsts, (folder, segment.first)) - 1
                if place < 0 or places[place].folder != folder or segment.first > places[place].last:
                    continue
                if segment.last <= places[place].last:
                    found.append(segment)
                else:
                    beyond += 1
        return found, beyond

    def _segments(self, folder: str) -> list[Stretch]:
        file = self.folder / folder / ANNOTATIONS
        if not file.is_file():
            told = f"no {folder}/{ANNOTATIONS}, so nothing is told in words"
            raise SourceError(f"data.root={self.root}: {told}; data.language_only=false takes all frames")
        about = load_plain(file)
        try:
            spans, texts = list(about["info"]["indx"]), list(about["language"]["ann"])
            if len(spans) != len(texts):
                raise ValueError(f"{len(spans)} segments, {len(texts)} texts")
            both = enumerate(zip(spans, texts, strict=True))
            return [
                Stretch(folder, int(first), int(last), f"/segment_{i:05d}", str(text))
                for i, ((first, last), text) in both
            ]
        except (KeyError, TypeError, ValueError) as error:
            told = f"{type(error).__name__}: {error}"
            raise SourceError(f"{file} lacks info.indx or language.ann ({told}); fetch it again") from error

    def _noted(self, name: str) -> dict[str, Any]:
        """What record.py noted beside the frames."""
        file = self.folder / name
        try:
            return dict(json.loads(file.read_text())) if file.is_file() else {}
        except (ValueError, TypeError) as error:
            raise SourceError(f"{file} is no JSON; take it away, or record again") from error

    def _read_episodes(self, folder: str) -> list[tuple[int, int]]:
        file = self.folder / folder / EPISODES
        if not file.is_file():
            return []
        found = np.asarray(load_plain(file))
        if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu":
            raise SourceError(f"{file} is {found.shape} {found.dtype}, not (n, 2) whole numbers")
        return sorted((int(first), int(last)) for first, last in found)


_BROKEN = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def frame_name(number: int) -> str:
    """The file of a frame."""
    return f"episode_{number:07d}.npz"


def is_picture(value: np.ndarray) -> bool:
    return value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3


def _in_words(error: Exception) -> str:
    if isinstance(error, ValueError):  # numpy's own words advise to trust the file
        return "not an .npz of numbers"
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
