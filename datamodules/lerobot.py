"""Robot videos with their actions, states and tasks, read from LeRobotDataset folders (v3.x and v2.x)."""

import logging
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.decoding import OpenVideos, Unreadable, VideoFile, VideoInfo, as_video
from datamodules.huggingface_rows import content, decode_picture
from datamodules.lerobot_layout import Episode, LeRobotLayout

_ATTEMPTS = 20  # other windows that are tried in place of one that does not decode

log = logging.getLogger("datamodules")


class LeRobot:
    """Clips of a LeRobotDataset, seen by one camera; no window crosses an episode, no episode two splits.

    Train has a window every `stride` frames; those of validation and test do not overlap.

    root: a folder, or the id of a data set on the Hugging Face hub, of which only the tables and the videos
    of this camera are fetched. camera: a feature of info.json, with or without `observation.images.`; null
    takes the first. fps: frames per second of the clips; null: as recorded. Where every k-th frame is taken,
    actions[:, i] is the k actions from frame i to frame i + 1 side by side, k * a numbers (frame skip as in
    SAVP's data code).
    Raises: SourceError where the folder, the camera, a key or the frame rate does not fit.
    """

    def __init__(
        self,
        *,
        root: str,
        num_frames: int,
        height: int,
        width: int,
        camera: str | None = None,
        fps: float | None = None,
        stride: int = 1,
        action_key: str | None = "action",
        state_key: str | None = "observation.state",
    ) -> None:
        if min(num_frames, height, width, stride) < 1 or (fps is not None and fps <= 0):
            raise SourceError(
                "data: num_frames, height, width and stride must be at least 1, fps above 0 or null"
            )
        self.root, self.num_frames, self.height, self.width = root, num_frames, height, width
        self.camera, self.fps, self.stride = camera, fps, stride
        self.action_key, self.state_key = action_key, state_key

    @cached_property
    def _layout(self) -> LeRobotLayout:
        return LeRobotLayout(self.root)

    def spec(self) -> ClipSpec:
        """Shapes, and the names of actions and states as info.json gives them."""
        actions = self._layout.names(self.action_key, "action_key") if self.action_key else ()
        states = self._layout.names(self.state_key, "state_key") if self.state_key else ()
        skip = round(self._step())
        if skip > 1:
            actions = tuple(f"{name}@{i}" for i in range(skip) for name in actions)
        return ClipSpec(self.num_frames, self.height, self.width, len(actions), len(states), actions, states)

    def split(self, name: Split) -> "LeRobotClips":
        """The windows of one split as a map-style data set."""
        spec, layout, camera = self.spec(), self._layout, self._layout.camera(self.camera)
        frames, every, videos = self._recordings
        picks = np.floor(np.arange(self.num_frames) * self._step() + 0.5).astype(int)
        span = int(picks[-1]) + 1
        chosen = layout.split_episodes({e.index for e in every})[name]
        mine = [e for e in every if e.index in chosen]
        long_enough = [e for e in mine if e.length >= span]
        usable = [e for e in long_enough if e.video is None or e.video in videos]
        short, absent = len(mine) - len(long_enough), len(long_enough) - len(usable)
        left_out = (
            f"{short} of {len(mine)} {name} episodes have fewer than {span} frames, {absent} no {camera}"
        )
        if not usable:
            raise SourceError(f"data.root={self.root}: {left_out}; ask for fewer frames or fetch the videos")
        if short or absent:
            log.warning("%s: left out: %s", self.root, left_out)
        return LeRobotClips(
            name=Path(self.root).name,
            folder=layout.folder,
            spec=spec,
            camera=camera,
            action_key=self.action_key,
            state_key=self.state_key,
            fps=float(self.fps or layout.fps),
            tasks=layout.tasks(),
            frames=frames,
            videos=videos,
            episodes=usable,
            picks=picks,
            stride=self.stride if name == "train" else span,
        )

    @cached_property
    def _recordings(self) -> tuple[Any, list[Episode], dict[Path, VideoInfo]]:
        """The frame table, where each episode lies in it, and the mp4 files."""
        camera = self._layout.camera(self.camera)
        frames = self._layout.frames(camera, [key for key in (self.action_key, self.state_key) if key])
        episodes = list(self._layout.episodes(frames, camera))
        return frames, episodes, self._layout.videos(episodes)

    def _step(self) -> float:
        """Recorded frames from one frame of a clip to the next, a whole number wherever there are actions."""
        recorded = self._layout.fps
        step = recorded / (self.fps or recorded)
        if abs(step - round(step)) < 1e-3 and round(step) >= 1:
            return round(step)
        if step < 1 or self.action_key:
            fitting = ", ".join(f"{recorded / k:g}" for k in (1, 2, 3, 4, 5))
            nearest = "" if step < 1 else ", or set action_key=null for the nearest frames"
            raise SourceError(
                f"data.fps={self.fps:g} does not divide the {recorded:g} frames per second of {self.root}; "
                f"take {fitting}, ...{nearest}"
            )
        return step


@dataclass(eq=False)
class LeRobotClips(Dataset):
    """The windows of one split; clips[i] depends on i and the files alone.

    A window that does not decode is replaced by another one, drawn from its index.
    """

    name: str
    folder: Path
    spec: ClipSpec
    camera: str
    action_key: str | None
    state_key: str | None
    fps: float
    tasks: dict[int, str]
    frames: Any  # datasets.Dataset in arrow format, a row a frame
    videos: dict[Path, VideoInfo]
    episodes: list[Episode]
    picks: np.ndarray  # frames of a window that are taken, counted from its start
    stride: int  # frames from one window to the next

    def __post_init__(self) -> None:
        self.open_videos = OpenVideos(VideoFile)
        self._reported: set[int] = set()
        counts = ((e.length - int(self.picks[-1]) - 1) // self.stride + 1 for e in self.episodes)
        self._ends = list(accumulate(counts))  # windows up to and with each episode

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place = index
        for attempt in range(_ATTEMPTS):
            which = bisect_right(self._ends, place)
            episode = self.episodes[which]
            window = place - (self._ends[which - 1] if which else 0)
            try:
                return self._read(episode, window * self.stride)
            except Unreadable as reason:
                problem = f"{self.name}/episode_{episode.index:06d} {reason}"
            if episode.index not in self._reported:
                self._reported.add(episode.index)
                log.warning("%s; other windows take the place of its broken ones", problem)
            place = mix(index, attempt) % len(self)
        raise SourceError(f"{problem}, and {_ATTEMPTS - 1} other windows neither; fetch the videos again")

    def _read(self, episode: Episode, start: int) -> Clip:
        spec, first = self.spec, episode.first_row + start
        rows = self.frames[first : first + int(self.picks[-1]) + 1]
        picked = rows.take(self.picks)
        if episode.video is None:
            cells = picked[self.camera].to_pylist()
            contents = [content(cell, self.folder) for cell in cells]
            pictures = [decode_picture(data, spec.height, spec.width) for data in contents]
            video = as_video(np.stack(pictures))
        else:
            times = [episode.start + time for time in picked["timestamp"].to_pylist()]
            video = self.open_videos[self.videos[episode.video]].read(times, spec.height, spec.width)["video"]
        clip = Clip(
            video=video,
            fps=torch.tensor(self.fps),
            text=self.tasks.get(rows["task_index"][0].as_py(), ""),
            id=f"{self.name}/episode_{episode.index:06d}@{rows['frame_index'][0].as_py()}",
        )
        if self.action_key:
            actions = numbers(rows, self.action_key)
            clip["actions"] = actions[:-1].reshape(spec.num_frames - 1, spec.action_dim)
        if self.state_key:
            clip["state"] = numbers(picked, self.state_key)
        return clip


def numbers(rows: Any, key: str) -> Float[Tensor, "t n"]:
    """A column of scalars, lists or arrays."""
    values = np.array(rows[key].to_pylist(), dtype=np.float32)
    return torch.from_numpy(values.reshape(len(values), -1))
