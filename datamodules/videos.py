"""Clips from your own videos: files, globs, folders or lists of them; image folders; .npz arrays."""

import logging
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.batches import OneClip
from datamodules.captions import captions
from datamodules.decoding import RESIZED, OpenVideos, Unreadable, VideoInfo
from datamodules.reasons import NAMED, grouped
from datamodules.video_index import content_key, find_videos, open_video, probe_all
from datamodules.video_splits import Stretch, grid_length, share_out

_ATTEMPTS = 20  # other clips that are tried in place of one that does not decode

log = logging.getLogger("datamodules")


class Videos:
    """Clips cut from videos; see docs/your_videos.md.

    root: a file, a glob, a folder or a list of these. fps: frames per second of the clips, null: each video's
    own; frames are picked by their time, never relabelled. stride: places, in frames, from one training clip
    to the next; clips of val and test do not overlap. assumed_fps: of image folders and arrays, which carry
    no times. Frames are scaled to cover (height, width) and cropped to the centre. Files that cannot be used
    are listed in one warning and in `skipped`.
    Raises: SourceError where no usable video is left.
    """

    def __init__(
        self,
        *,
        root: str | list[str],
        num_frames: int,
        height: int,
        width: int,
        fps: float | None = None,
        stride: int = 1,
        assumed_fps: float = 10.0,
    ) -> None:
        if min(num_frames, height, width, stride) < 1:
            raise SourceError("data: num_frames, height, width and stride must be at least 1")
        if assumed_fps <= 0 or (fps is not None and fps <= 0):
            raise SourceError("data: fps and assumed_fps must be above 0 (fps=null keeps each video's own)")
        self.root, self.num_frames, self.height, self.width = root, num_frames, height, width
        self.fps, self.stride, self.assumed_fps = fps, stride, assumed_fps

    def spec(self) -> ClipSpec:
        """Shapes; actions and states only if all videos have them in one size."""
        dims = self._library.dims
        return ClipSpec(self.num_frames, self.height, self.width, dims["actions"], dims["state"])

    def split(self, name: Split) -> "VideoClips":
        """The clips of one split as a map-style data set."""
        return VideoClips(
            self.stretches(name),
            self.spec(),
            stride=self.stride if name == "train" else self.num_frames,
        )

    def stretches(self, name: Split) -> list[Stretch]:
        """What the clips of one split are cut from."""
        return self._library.splits[name]

    def settings(self) -> dict[str, Any]:
        """All that decides what clips look like, but for the files."""
        names = ("num_frames", "height", "width", "fps", "stride", "assumed_fps")
        return {name: getattr(self, name) for name in names} | {"resized": RESIZED}

    @property
    def skipped(self) -> dict[str, str]:
        """Files that cannot be used: name -> why."""
        return dict(self._library.skipped)

    @cached_property
    def _library(self) -> "_Library":
        found = find_videos(self.root)
        infos, skipped = probe_all(found)
        texts = captions(found.base, infos)
        usable = []
        for name, info in infos.items():
            if info.fps is None:
                info = replace(info, fps=self.assumed_fps, duration=(info.num_frames - 1) / self.assumed_fps)
            try:
                usable.append(self._stretch(name, info, texts.get(name, "")))
            except Unreadable as reason:
                skipped[name] = str(reason)
        if not usable:
            raise SourceError(f"data.root={self.root}: no usable video; {grouped(skipped, '; ')}")
        splits = share_out(usable, self.num_frames)
        placed = {stretch.name for part in splits.values() for stretch in part}
        skipped |= {s.name: "outside of train/, val/ and test/" for s in usable if s.name not in placed}
        if skipped:
            counts = len(skipped), len(skipped) + len(placed)
            log.warning("data.root=%s: skipped %d of %d\n  %s", self.root, *counts, grouped(skipped, "\n  "))
        return _Library(splits, skipped, _agreed_dims(usable))

    def _stretch(self, name: str, info: VideoInfo, text: str) -> Stretch:
        own, fps = info.fps or 0.0, self.fps or info.fps or 0.0
        length = grid_length(info.duration or 0.0, own, fps)
        if length < self.num_frames:
            raise Unreadable(f"too short for {self.num_frames} frames at {fps:g} a second")
        skip = own / fps
        if info.action_dim and (skip < 0.999 or abs(skip - round(skip)) > 1e-3):
            raise Unreadable(f"has actions at {own:g} fps, which fps={fps:g} does not divide")
        info = replace(info, action_dim=info.action_dim * max(1, round(skip)))
        return Stretch(name, info, text, fps, first=0, end=length)


@dataclass(frozen=True)
class _Library:
    splits: dict[Split, list[Stretch]]
    skipped: dict[str, str]
    dims: dict[str, int]


class VideoClips(Dataset):
    """The clips of one split; clips[i] depends on i and the files alone.

    A clip that does not decode is replaced by one of another video, or of the same where it is the only one,
    drawn from the index; the first such clip of a video is reported.
    """

    def __init__(self, stretches: Sequence[Stretch], spec: ClipSpec, *, stride: int) -> None:
        self.stretches, self.spec, self.stride = list(stretches), spec, stride
        self._counts = [stretch.windows(spec.num_frames, stride) for stretch in self.stretches]
        self._ends = list(accumulate(self._counts))  # clips up to and with each stretch
        self.open_videos = OpenVideos(open_video)
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return self._ends[-1]

    def name_of(self, index: int) -> str:
        """The video that a clip is cut from."""
        return self.stretches[bisect_right(self._ends, index)].name

    def key_of(self, index: int) -> str:
        """What a clip is made of: the files' content, the place in it, the caption; nothing is decoded."""
        which, window = self._window(index)
        stretch = self.stretches[which]
        start = (stretch.first + window * self.stride) / stretch.fps
        return f"{content_key(stretch.info.path)} {start:.3f}s {stretch.fps:g}fps {stretch.text}"

    def _window(self, index: int) -> tuple[int, int]:
        """Which stretch a clip is cut from, and which of its windows it is."""
        which = bisect_right(self._ends, index)
        return which, index - (self._ends[which] - self._counts[which])

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        which, window = self._window(index)
        refused: set[int] = set()
        for attempt in range(_ATTEMPTS):
            try:
                return self._read(self.stretches[which], window)
            except Unreadable as reason:
                self._report(self.stretches[which].name, str(reason))
            refused.add(which)
            every = range(len(self.stretches))
            others = [other for other in every if other not in refused] or every
            which = others[mix(index, attempt, 0) % len(others)]
            window = mix(index, attempt, 1) % self._counts[which]
        names = ", ".join(self.stretches[which].name for which in sorted(refused)[:NAMED])
        told = f"{_ATTEMPTS} clips in a row do not decode: {names}"
        raise SourceError(f"data: {told}; mend or remove these files")

    def _read(self, stretch: Stretch, window: int) -> Clip:
        spec = self.spec
        start = stretch.first + window * self.stride
        times = [(start + i) / stretch.fps for i in range(spec.num_frames)]
        clip = self.open_videos[stretch.info].read(times, spec.height, spec.width)
        if not spec.action_dim:
            clip.pop("actions", None)
        if not spec.state_dim:
            clip.pop("state", None)
        clip["fps"] = torch.tensor(float(stretch.fps))
        clip["text"] = stretch.text
        clip["id"] = f"{stretch.name}@{times[0]:.3f}s"
        return clip

    def _report(self, name: str, reason: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            log.warning("%s %s; other clips take the place of its broken ones", name, reason)


def first_clip(root: str, *, num_frames: int, height: int, width: int, fps: float | None) -> OneClip:
    """The first frames of one video, image folder or array, however short it is beyond them.

    Raises: SourceError where nothing readable of that length lies at root.
    """
    infos, skipped = probe_all(find_videos(root))
    if not infos:
        raise SourceError(f"{root}: no usable video; {grouped(skipped, '; ')}")
    name, info = next(iter(infos.items()))
    rate = fps or info.fps or 10.0
    times = [i / rate for i in range(num_frames)]
    try:
        clip: OneClip = dict(open_video(info).read(times, height, width))
    except Unreadable as reason:
        raise SourceError(
            f"{name}: {reason}; {num_frames} frames at {rate:g} a second are needed"
        ) from reason
    clip |= {"fps": torch.tensor(float(rate)), "text": "", "id": f"{name}@0.000s"}
    return clip


def _agreed_dims(stretches: Sequence[Stretch]) -> dict[str, int]:
    """Sizes of actions and states where all videos have the same one, else 0."""
    dims = {}
    for key, sizes in (
        ("actions", {stretch.info.action_dim for stretch in stretches}),
        ("state", {stretch.info.state_dim for stretch in stretches}),
    ):
        dims[key] = sizes.pop() if len(sizes) == 1 else 0
        if sizes:
            log.warning("the videos do not agree in the size of %s (0 = none): left out", key)
    return dims
