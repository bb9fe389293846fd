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
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.decoding import OpenVideos, Unreadable, VideoFile, VideoInfo, as_video
from datamodules.huggingface_rows import content, decode_picture
from datamodules.lerobot_layout import Episode, LeRobotLayout, by_share

_ATTEMPTS = 20  # other windows that are tried in place of one that does not decode

log = logging.getLogger("datamodules")


class LeRobot:
    """Clips of a LeRobotDataset, of one camera or two; no window crosses an episode, no episode two splits.

    Train has a window every `stride` frames; those of validation and test do not overlap.

    root: a folder, or the id of a data set on the Hugging Face hub, of which only the tables and the videos
    of these cameras are fetched. camera: a feature of info.json, with or without `observation.images.`; null
    takes the first. second_camera: what the same moments look like from another one, `second_video`.
    repeat_last: windows may begin at every frame but the last; where the episode ends before, its last frame
    is repeated and the actions are 0. share: of the training episodes that are used, at least one.
    fps: frames per second of the clips; null: as recorded. Where every k-th frame is taken, actions[:, i] is
    the k actions from frame i to frame i + 1 side by side, k * a numbers (frame skip as in SAVP's data code).
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
        second_camera: str | None = None,
        fps: float | None = None,
        stride: int = 1,
        repeat_last: bool = False,
        share: float = 1.0,
        action_key: str | None = "action",
        state_key: str | None = "observation.state",
    ) -> None:
        if min(num_frames, height, width, stride) < 1 or (fps is not None and fps <= 0):
            raise SourceError(
                "data: num_frames, height, width and stride must be at least 1, fps above 0 or null"
            )
        if not 0 < share <= 1:
            raise SourceError(f"data.share={share:g} of the training episodes; give more than 0, at most 1")
        self.share = share
        self.root, self.num_frames, self.height, self.width = root, num_frames, height, width
        self.camera, self.second_camera = camera, second_camera
        self.fps, self.stride, self.repeat_last = fps, stride, repeat_last
        self.action_key, self.state_key = action_key, state_key
        self._known: dict[str, tuple[Any, list[Episode], dict[Path, VideoInfo]]] = {}

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
        dims, cameras = (len(actions), len(states)), 1 if self.second_camera is None else 2
        return ClipSpec(self.num_frames, self.height, self.width, *dims, actions, states, cameras=cameras)

    def split(self, name: Split) -> "LeRobotClips":
        """The windows of one split as a map-style data set."""
        clips = self._seen_by(self.camera, name)
        if self.second_camera is not None:
            clips.second = self._seen_by(self.second_camera, name)
            if [e.index for e in clips.episodes] != [e.index for e in clips.second.episodes]:
                told = f"data.root={self.root}: {clips.camera} and {clips.second.camera} show other episodes"
                raise SourceError(f"{told}; fetch the missing videos")
        return clips

    def _seen_by(self, name_of_camera: str | None, name: Split) -> "LeRobotClips":
        spec, layout, camera = self.spec(), self._layout, self._layout.camera(name_of_camera)
        frames, every, videos = self._recordings(camera)
        picks = np.floor(np.arange(self.num_frames) * self._step() + 0.5).astype(int)
        span = int(picks[1 if self.repeat_last and len(picks) > 1 else -1]) + 1
        chosen = layout.split_episodes({e.index for e in every})[name]
        if name == "train":
            chosen = set(by_share(sorted(chosen), self.share))
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
            stride=self.stride if name == "train" else int(picks[-1]) + 1,
            span=span,
        )

    def _recordings(self, camera: str) -> tuple[Any, list[Episode], dict[Path, VideoInfo]]:
        """The frame table, where each episode lies in it, and the mp4 files."""
        if camera not in self._known:
            frames = self._layout.frames(camera, [key for key in (self.action_key, self.state_key) if key])
            episodes = list(self._layout.episodes(frames, camera))
            self._known[camera] = frames, episodes, self._layout.videos(episodes)
        return self._known[camera]

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
    span: int  # frames of an episode that a window needs; what it has beyond is the last one again
    second: "LeRobotClips | None" = None  # the same moments, seen by another camera

    def __post_init__(self) -> None:
        self.open_videos = OpenVideos(VideoFile)
        self._reported: set[int] = set()
        counts = ((e.length - self.span) // self.stride + 1 for e in self.episodes)
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
            start = (place - (self._ends[which - 1] if which else 0)) * self.stride
            try:
                clip = self._read(episode, start)
                if self.second is not None:
                    clip["second_video"] = self.second.video(self.second.episodes[which], start)
                return clip
            except Unreadable as reason:
                problem = f"{self.name}/episode_{episode.index:06d} {reason}"
            if episode.index not in self._reported:
                self._reported.add(episode.index)
                log.warning("%s; other windows take the place of its broken ones", problem)
            place = mix(index, attempt) % len(self)
        raise SourceError(f"{problem}, and {_ATTEMPTS - 1} other windows neither; fetch the videos again")

    def _read(self, episode: Episode, start: int) -> Clip:
        spec, first = self.spec, episode.first_row + start
        last = min(start + int(self.picks[-1]), episode.length - 1)
        rows = self.frames[first : episode.first_row + last + 1]
        clip = Clip(
            video=self.video(episode, start),
            fps=torch.tensor(self.fps),
            text=self.tasks.get(rows["task_index"][0].as_py(), ""),
            id=f"{self.name}/episode_{episode.index:06d}@{rows['frame_index'][0].as_py()}",
        )
        if self.action_key:
            done = numbers(rows, self.action_key)[:-1]
            actions = done.new_zeros(int(self.picks[-1]), done.shape[1])
            actions[: len(done)] = done
            clip["actions"] = actions.reshape(spec.num_frames - 1, spec.action_dim)
        if self.state_key:
            clip["state"] = numbers(rows.take(np.minimum(self.picks, last - start)), self.state_key)
        return clip

    def video(self, episode: Episode, start: int) -> UInt8[Tensor, "t 3 h w"]:
        """The pictures of the window that begins at a frame of an episode.

        Raises Unreadable where they do not decode.
        """
        spec = self.spec
        places = np.minimum(self.picks, episode.length - 1 - start)
        first = episode.first_row + start
        picked = self.frames[first : first + int(places[-1]) + 1].take(places)
        if episode.video is None:
            cells = picked[self.camera].to_pylist()
            contents = [content(cell, self.folder) for cell in cells]
            pictures = [decode_picture(data, spec.height, spec.width) for data in contents]
            return as_video(np.stack(pictures))
        times = [episode.start + time for time in picked["timestamp"].to_pylist()]
        return self.open_videos[self.videos[episode.video]].read(times, spec.height, spec.width)["video"]


def numbers(rows: Any, key: str) -> Float[Tensor, "t n"]:
    """A column of scalars, lists or arrays."""
    values = np.array(rows[key].to_pylist(), dtype=np.float32)
    return torch.from_numpy(values.reshape(len(values), -1))
