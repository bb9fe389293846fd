"""Writes recordings in CALVIN's layout: a file a frame, and tables of what the frames belong to."""

import contextlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules import SourceError
from datamodules.calvin_layout import (
    ANNOTATIONS,
    EPISODES,
    FOLDERS,
    RECORDING,
    STATE_NAMES,
    WIDTHS,
    frame_name,
)
from datamodules.lerobot_episodes import RecordedEpisode
from datamodules.recordings import claim, write_whole

EPISODES_PER_TABLE = 100  # that are recorded between two versions of the tables
_CAMERAS = {"static": "rgb_static", "wrist": "rgb_gripper"}
_FINGER = ("finger_x", "finger_y", "finger_z")
_JOURNAL = "episodes.jsonl"
_EMBEDDING = 384  # numbers that a language model makes of an instruction
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can tell


class CalvinWriter:
    """Moves the episodes that `keep_frames` left to their places, and goes on with it.

    training/ and validation/ hold episode_%07d.npz, a file a frame, numbered through all episodes of both;
    ep_start_end_ids.npy, their first and last frames; and lang_annotations/auto_lang_ann.npy, the words of
    those that ended with the task done, with `emb` all zeros, for no language model is asked. One episode of
    every ten goes to validation/, each time at another place among the ten, so that tasks that take turns all
    come there.

    Beside them: recording.json, what the episodes depend on; state_names.json, the names of the first numbers
    of robot_obs (those of the finger) and of scene_obs (the others); episodes.jsonl, a line an episode. The
    tables follow from the last one: whenever a recording is killed, the next one mends them and goes on.

    root: the folder.  fps: frames a second.  cameras: height and width of each.  state_names, action_names:
    of each number.  made_by: all that the episodes depend on, by which a writer knows its folder again.

    Raises SourceError where the layout has no place for something, where root holds anything else, or another
    recording is writing to it.
    Source: https://github.com/mees/calvin, dataset/README.md.
    """

    def __init__(
        self,
        *,
        root: Path,
        fps: int,
        cameras: dict[str, tuple[int, int]],
        state_names: tuple[str, ...],
        action_names: tuple[str, ...],
        made_by: dict[str, Any],
    ) -> None:
        self.root, self.fps = root, fps
        names = _fitting(cameras, state_names, action_names)
        self.entries: list[dict[str, Any]] = []
        self._tabled = 0  # episodes that are in the tables
        self._claimed = claim(root, RECORDING, {"format": "calvin", "fps": fps} | made_by)
        write_whole(root / STATE_NAMES, lambda path: path.write_text(json.dumps(names, indent=4)))
        self._go_on()

    @property
    def episodes(self) -> int:
        """How many are at their places."""
        return len(self.entries)

    def close(self) -> None:
        """Let other recordings have the folder."""
        self._claimed.close()

    def missing(self, count: int) -> list[int]:
        """Which of the first `count` episodes are neither at their places nor waiting."""
        return [i for i in range(self.episodes, count) if not waiting_folder(self.root, i).is_dir()]

    def join(self, count: int) -> None:
        """Move what waits to its place, up to `count` episodes."""
        while self.episodes < count and waiting_folder(self.root, self.episodes).is_dir():
            self._take(waiting_folder(self.root, self.episodes))
            if self.episodes - self._tabled >= EPISODES_PER_TABLE:
                self._write_tables()
        if self.episodes >= count:
            self._write_tables()
            waiting = list((self.root / "unjoined").glob("*"))
            late = [path for path in waiting if path.suffix or _number(path) < self.episodes]
            for path in late:  # of a process that outlived its recording
                _discard(path)
            if len(late) == len(waiting):
                shutil.rmtree(self.root / "unjoined", ignore_errors=True)

    def _go_on(self) -> None:
        """Take up what is there; end or drop what a killed recording has left half done."""
        for path in [path for path in (self.root / "unjoined").glob("*") if path.suffix]:
            _discard(path)
        journal = self.root / _JOURNAL
        if journal.is_file():
            content = journal.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                os.truncate(journal, len(whole))
            self.entries = [json.loads(line) for line in whole.splitlines()]
        for path in (self.root / "unjoined").glob("*"):
            if not path.suffix and (index := _number(path)) < self.episodes:
                self._move(path, self.entries[index])
        self._write_tables()

    def _take(self, kept: Path) -> None:
        """Say where the next episode lies, then bring it there."""
        about = json.loads((kept / "about.json").read_text())
        first = self.entries[-1]["last"] + 1 if self.entries else 0
        entry = {"episode": self.episodes, "folder": folder_of(self.episodes)}
        entry |= {"first": first, "last": first + about.pop("length") - 1} | about
        with (self.root / _JOURNAL).open("a") as journal:
            journal.write(json.dumps(entry) + "\n")
        self.entries.append(entry)
        self._move(kept, entry)

    def _move(self, kept: Path, entry: dict[str, Any]) -> None:
        folder = self.root / entry["folder"]
        folder.mkdir(exist_ok=True)
        for path in kept.glob("episode_*.npz"):
            path.replace(folder / frame_name(entry["first"] + int(path.stem.rpartition("_")[2])))
        shutil.rmtree(kept)

    def _write_tables(self) -> None:
        """What follows from the journal."""
        for folder in FOLDERS if self._tabled < self.episodes else ():
            mine = [entry for entry in self.entries if entry["folder"] == folder]
            if not mine:
                continue
            spans = np.array([(entry["first"], entry["last"]) for entry in mine], dtype=np.int64)
            told = [entry for entry in mine if entry["success"]]
            # Interned, since a pickle depends on which of its equal strings are the same object.
            words = {key: [sys.intern(entry[key]) for entry in told] for key in ("text", "task")}
            emb = np.zeros((len(told), 1, _EMBEDDING), dtype=np.float32)
            about = {
                "language": {"ann": words["text"], "task": words["task"], "emb": emb},
                "info": {"episodes": [], "indx": [(entry["first"], entry["last"]) for entry in told]},
            }
            _save(self.root / folder / EPISODES, spans)
            _save(self.root / folder / ANNOTATIONS, np.array(about, dtype=object))
        self._tabled = self.episodes


def _discard(folder: Path) -> None:
    """Delete it, under another name first: who still writes to it shall fail, not fill what is left of it."""
    gone = folder.with_suffix(".gone")
    if folder != gone:
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _number(kept: Path) -> int:
    """Of the episode that a folder holds."""
    return int(kept.name.rpartition("_")[2])


def keep_frames(
    root: Path, index: int, episode: RecordedEpisode, task: str, *, state_names: Sequence[str]
) -> None:
    """Leave an episode for the writer of this folder: a file a frame, all of them or none.

    rel_actions is the action that leads to the next frame, zeros in the last one. actions, where the state
    has the finger's x, y and z: where it is in the next frame, three zeros, and the gripper's number. Numbers
    of robot_obs and scene_obs that are not used are 0.
    """
    target = waiting_folder(root, index)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    n = len(episode.states)
    arrays: dict[str, np.ndarray] = {
        _CAMERAS[name]: video for name, video in episode.videos.items() if name in _CAMERAS
    }
    moves = arrays["rel_actions"] = np.pad(episode.actions, ((0, 1), (0, 0)))
    if set(_FINGER) <= set(state_names):
        finger = episode.states[:, [list(state_names).index(name) for name in _FINGER]]
        after = np.minimum(np.arange(n) + 1, n - 1)
        arrays["actions"] = np.hstack([finger[after], np.zeros((n, 3), np.float32), moves[:, 6:]])
    for key, places in places_of(state_names).items():
        arrays[key] = np.pad(episode.states[:, places], ((0, 0), (0, WIDTHS[key] - len(places))))
    for frame in range(n):
        content = archive({key: values[frame] for key, values in arrays.items()})
        (unfinished / frame_name(frame)).write_bytes(content)
    about = {"length": n, "task": task, "text": episode.text, "success": bool(episode.success[-1:].any())}
    (unfinished / "about.json").write_text(json.dumps(about))
    try:
        unfinished.rename(target)
    except OSError:
        if not target.is_dir():  # else it is of a process that died before it could say so
            raise
        shutil.rmtree(unfinished, ignore_errors=True)


def waiting_folder(root: Path, index: int) -> Path:
    """Where an episode waits for its place."""
    return root / "unjoined" / f"episode_{index:06d}"


def folder_of(index: int) -> str:
    """One of every ten episodes goes to validation/: the last of the first ten, the third of the next, ..."""
    ten, place = divmod(index, 10)
    return "validation" if place == (9 + 3 * ten) % 10 else "training"


def places_of(state_names: Sequence[str]) -> dict[str, list[int]]:
    """Which numbers of a state go where."""
    finger = [place for place, name in enumerate(state_names) if name.startswith("finger")]
    rest = [place for place in range(len(state_names)) if place not in finger]
    return {"robot_obs": finger, "scene_obs": rest}


def archive(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz whose bytes depend on the arrays alone, lightly compressed.

    Without compression a frame of 64 x 64 took 13.8 kB and not 2.6, one of two cameras with 200 x 200 took
    242 kB and not 12; writing was faster by a half.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as entries:
        for name, values in arrays.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(values), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _LONG_AGO)
            entries.writestr(entry, array.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return file.getvalue()


def _fitting(
    cameras: dict[str, Any], state_names: Sequence[str], action_names: Sequence[str]
) -> dict[str, list[str]]:
    """The names of the numbers of each array of states."""
    problems = [f"no camera {name}" for name in cameras if name not in _CAMERAS]
    if not cameras:
        problems.append("no frames without a camera")
    if len(action_names) != WIDTHS["rel_actions"]:
        problems.append(f"actions of {WIDTHS['rel_actions']} numbers, not {len(action_names)}")
    names = {key: [state_names[i] for i in places] for key, places in places_of(state_names).items()}
    for key, mine in names.items():
        if len(mine) > WIDTHS[key]:
            problems.append(f"{WIDTHS[key]} numbers in {key}, not {len(mine)}")
    if problems:
        raise SourceError(f"CALVIN's layout has {', '.join(problems)}; take format=lerobot")
    return names


def _save(path: Path, values: np.ndarray) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            np.save(file, values)

    write_whole(path, write)
