"""Robot videos with their actions, states and instructions, read from folders in CALVIN's layout."""

import logging
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.calvin_layout import CalvinLayout, Stretch
from datamodules.decoding import Unreadable, as_video
from datamodules.lerobot_layout import by_share
from datamodules.stills import fit

_ATTEMPTS = 20  # other windows that are tried in place of one that cannot be read
_ALL = ("robot_obs", "scene_obs")

log = logging.getLogger("datamodules")


class Calvin:
    """Clips of a folder in CALVIN's layout; no window crosses an episode, no episode two splits.

    Train has a window every `stride` frames; those of validation and test do not overlap. Train is training/;
    validation is the first half of validation/, by episodes, and test the second. `CalvinLayout.episodes`
    says what is done where these are too few.

    root: the folder.  camera, second_camera: static, gripper, or another array rgb_NAME of the frames; the
    second one shows the same moments, as `second_video`.
    fps: frames per second of the clips; null: as recorded, 30 unless record.py noted another rate. Where
    every k-th frame is taken, actions[:, i] is the k actions from frame i to frame i + 1 side by side, k * a
    numbers.
    repeat_last: windows may begin at every frame but the last; where the episode ends before, its last frame
    is repeated and the actions are 0.  share: of the training episodes that are used, at least one.
    language_only: windows out of annotated segments, with their words; false: out of all frames, without.
    action_key: rel_actions, actions or null.  state_key: robot_obs, scene_obs, all (both, in this order) or
    null; of what record.py wrote, the numbers that are used.
    Raises: SourceError where the folder, a camera, a key or the frame rate does not fit.
    """

    def __init__(
        self,
        *,
        root: str,
        num_frames: int,
        height: int,
        width: int,
        camera: str | None = "static",
        second_camera: str | None = None,
        fps: float | None = None,
        stride: int = 1,
        repeat_last: bool = False,
        share: float = 1.0,
        language_only: bool = True,
        action_key: str | None = "rel_actions",
        state_key: str | None = "robot_obs",
    ) -> None:
        if min(num_frames, height, width, stride) < 1 or (fps is not None and fps <= 0):
            raise SourceError(
                "data: num_frames, height, width and stride must be at least 1, fps above 0 or null"
            )
        if not 0 < share <= 1:
            raise SourceError(f"data.share={share:g} of the training episodes; give more than 0, at most 1")
        self.root, self.num_frames, self.height, self.width = root, num_frames, height, width
        self.camera, self.second_camera = camera, second_camera
        self.fps, self.stride, self.repeat_last, self.share = fps, stride, repeat_last, share
        self.language_only, self.action_key = language_only, action_key
        self.state_keys = _ALL if state_key == "all" else (state_key,) if state_key else ()

    @cached_property
    def _layout(self) -> CalvinLayout:
        return CalvinLayout(self.root)

    def spec(self) -> ClipSpec:
        """Shapes, and the names of actions and states."""
        layout, skip = self._layout, round(self._step())
        layout.require([self.action_key] if self.action_key else [], "action_key")
        layout.require(self.state_keys, "state_key")
        actions = layout.names(self.action_key) if self.action_key else ()
        states = tuple(name for key in self.state_keys for name in layout.names(key))
        if skip > 1:
            actions = tuple(f"{name}@{i}" for i in range(skip) for name in actions)
        size = (self.num_frames, self.height, self.width)
        cameras = 1 if self.second_camera is None else 2
        return ClipSpec(*size, len(actions), len(states), actions, states, cameras=cameras)

    def split(self, name: Split) -> "CalvinClips":
        """The windows of one split as a map-style data set."""
        spec, layout = self.spec(), self._layout
        asked = (self.camera or "static", self.second_camera)
        cameras = [layout.camera(camera) for camera in asked if camera]
        picks = np.floor(np.arange(self.num_frames) * self._step() + 0.5).astype(int)
        span = int(picks[1 if self.repeat_last and len(picks) > 1 else -1]) + 1
        mine = layout.episodes()[name]
        if name == "train":
            mine = [mine[place] for place in sorted(by_share(list(range(len(mine))), self.share))]
        what, beyond = "annotated segments" if self.language_only else "episodes", 0
        if self.language_only:
            mine, beyond = layout.annotated(mine)
        usable = [stretch for stretch in mine if stretch.length >= span]
        short, every = len(mine) - len(usable), len(mine) + beyond
        left_out = f"{short} of {every} {what} in {name} have fewer than {span} frames"
        left_out += f", {beyond} end beyond their episode" if beyond else ""
        if not usable:
            told = f"{left_out}; ask for fewer frames" if every else f"no {what} in {name}"
            other = "; data.language_only=false takes all frames" if self.language_only else ""
            raise SourceError(f"data.root={self.root}: {told}{other}")
        if short or beyond:
            log.warning("%s: left out: %s", self.root, left_out)
        return CalvinClips(
            layout=layout,
            spec=spec,
            cameras=cameras,
            action_key=self.action_key,
            state_keys=self.state_keys,
            fps=float(self.fps or layout.fps),
            stretches=usable,
            picks=picks,
            stride=self.stride if name == "train" else int(picks[-1]) + 1,
            span=span,
        )

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
class CalvinClips(Dataset):
    """The windows of one split; clips[i] depends on i and the files alone.

    A window with a frame that cannot be read is replaced by another one, drawn from its index.
    """

    layout: CalvinLayout
    spec: ClipSpec
    cameras: list[str]
    action_key: str | None
    state_keys: Sequence[str]
    fps: float
    stretches: list[Stretch]
    picks: np.ndarray  # frames of a window that are taken, counted from its start
    stride: int  # frames from one window to the next
    span: int  # frames of a stretch that a window needs; what it has beyond is the last one again

    def __post_init__(self) -> None:
        self.name = Path(self.layout.root).name
        self._reported: set[int] = set()
        counts = ((stretch.length - self.span) // self.stride + 1 for stretch in self.stretches)
        self._ends = list(accumulate(counts))  # windows up to and with each stretch

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place = index
        for attempt in range(_ATTEMPTS):
            which = bisect_right(self._ends, place)
            stretch = self.stretches[which]
            start = stretch.first + (place - (self._ends[which - 1] if which else 0)) * self.stride
            try:
                return self._read(stretch, start)
            except Unreadable as reason:
                problem = f"{self.name}/{stretch.folder}: {reason}"
            if which not in self._reported:
                self._reported.add(which)
                log.warning("%s; other windows take the place of its broken ones", problem)
            place = mix(index, attempt) % len(self)
        raise SourceError(f"{problem}, and {_ATTEMPTS - 1} other windows neither; fetch the frames again")

    def _read(self, stretch: Stretch, start: int) -> Clip:
        spec, last = self.spec, min(start + int(self.picks[-1]), stretch.last)
        shown = np.minimum(start + self.picks, last).tolist()
        taken = set(shown)
        numbers = range(start, last + 1) if self.action_key else sorted(taken)
        frames = {n: self.layout.frame(stretch.folder, n, self._keys(n in taken, n < last)) for n in numbers}
        pictures = {n: [self._picture(frames[n][camera]) for camera in self.cameras] for n in sorted(taken)}
        videos = [as_video(np.stack([pictures[n][i] for n in shown])) for i in range(len(self.cameras))]
        clip = Clip(
            video=videos[0],
            fps=torch.tensor(self.fps),
            text=stretch.text,
            id=f"{self.name}/{stretch.folder}{stretch.label}/episode_{start:07d}",
        )
        if len(videos) > 1:
            clip["second_video"] = videos[1]
        if self.action_key:
            actions = torch.zeros(int(self.picks[-1]), self.layout.looked_into[self.action_key].size)
            for row, n in zip(actions, range(start, last), strict=False):
                row[:] = torch.from_numpy(frames[n][self.action_key].astype(np.float32))
            clip["actions"] = actions.reshape(spec.num_frames - 1, spec.action_dim)
        if self.state_keys:
            clip["state"] = torch.from_numpy(np.stack([self._state(frames[n]) for n in shown]))
        return clip

    def _keys(self, shown: bool, acted: bool) -> list[str]:
        """What is read of a frame. acted: whether the action in it leads to one in the window."""
        actions = [self.action_key] if self.action_key and acted else []
        return [*self.cameras, *self.state_keys, *actions] if shown else actions

    def _picture(self, picture: np.ndarray) -> np.ndarray:
        return fit(Image.fromarray(picture), self.spec.height, self.spec.width)

    def _state(self, frame: dict[str, np.ndarray]) -> np.ndarray:
        used = [frame[key][: len(self.layout.names(key))] for key in self.state_keys]
        return np.concatenate(used).astype(np.float32)
