"""Frames of a video file by time: seek to the keyframe before, decode on, scale as it decodes (PyAV).

Frames are scaled by libswscale while they are still YUV, with a triangle filter that widens as it shrinks,
full chroma and accurate rounding: the same picture as converting to RGB first and scaling that antialiased
(mean difference below 0.5 of 255) in less time. One thread a file, since data workers are the parallelism.

torchcodec is not used. A clip of 16 frames scaled to 64 x 64, out of 40 files with 8 open, took 4.3 ms by it
and 5.2 ms by this from 160 x 120, 9.2 and 9.6 ms from 320 x 240, 25 and 23 ms from 640 x 480: no gain that
would be worth pixels that depend on what else is installed.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

from components.clip import Clip

EPSILON = 1e-6  # times (s) or places (frames) nearer than this are the same
FAILURES = (av.FFmpegError, OSError, ValueError)  # what PyAV raises over a broken file
RESIZED = "to cover, then cropped to the centre; triangle filter"  # how frames get their size
_FILTER = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


class Unreadable(Exception):
    """Why a video cannot be read, in a few words."""


@dataclass(frozen=True)
class VideoInfo:
    """What the index knows of one video.

    height, width: as a player shows it: turned, with square pixels. fps: the source's own; duration: seconds
    from the first frame to the last; both None where frames carry no times. start: time of the first frame.
    by_dts: its presentation times are scrambled, its decoding times are not. The frame is shown transposed
    and then mirrored (flip_x: left to right, flip_y: top to bottom).
    """

    path: str
    num_frames: int
    height: int
    width: int
    fps: float | None = None
    duration: float | None = None
    start: float = 0.0
    by_dts: bool = False
    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False
    action_dim: int = 0
    state_dim: int = 0


class Reader(Protocol):
    """An open video."""

    def read(self, times: Sequence[float], height: int, width: int) -> Clip:
        """The frames nearest to times (seconds after the first frame, rising), resized and cropped.

        Raises: Unreadable.
        """

    def close(self) -> None: ...


class VideoFile:
    """An open video file of any format that PyAV decodes."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.container, self.stream = _open(info.path)
        self._scaler = VideoReformatter()

    def close(self) -> None:
        self.container.close()

    def reopen(self) -> None:
        """Back to the first frame, also where a format cannot seek."""
        self.close()
        self.container, self.stream = _open(self.info.path)

    def seek(self, time: float) -> bool:
        """Go to a keyframe, if the format allows it at or before time."""
        try:
            self.container.seek(round(time / self.stream.time_base), stream=self.stream)
        except av.FFmpegError:
            return False
        return True

    def frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames from here to the end in the order shown, with their times in seconds."""
        tick = float(self.stream.time_base)
        for frame in self.container.decode(self.stream):
            ticks = frame.dts if self.info.by_dts else frame.pts
            if ticks is not None:
                yield ticks * tick, frame

    def read(self, times: Sequence[float], height: int, width: int) -> Clip:
        """See Reader."""
        pictures = np.empty((len(times), height, width, 3), np.uint8)
        try:
            frames = self._nearest(np.asarray(times, dtype=np.float64) + self.info.start)
            for i, frame in enumerate(frames):
                repeated = i > 0 and frame is frames[i - 1]
                pictures[i] = pictures[i - 1] if repeated else self._picture(frame, height, width)
        except FAILURES as error:
            raise Unreadable(f"does not decode at {times[0]:.2f}s: {in_words(error)}") from error
        return Clip(video=as_video(pictures))

    def _nearest(self, wanted: np.ndarray) -> list[av.VideoFrame]:
        """The frame nearest to each time; of two equally near ones the earlier."""
        picked: list[Any] = [None] * len(wanted)
        distance = np.full(len(wanted), math.inf)
        time = self.info.start
        for time, frame in self._frames_around(wanted[0]):
            to_frame = np.abs(wanted - time)
            for i in np.flatnonzero(to_frame < distance - EPSILON):
                picked[i], distance[i] = frame, to_frame[i]
            if time >= wanted[-1] - EPSILON:
                break
        last = self.info.start + (self.info.duration or 0.0)
        if picked[-1] is None or time < min(wanted[-1], last) - EPSILON:
            raise Unreadable(f"has no frames after {time - self.info.start:.2f}s")
        if any(frame.is_corrupt for frame in picked):
            raise Unreadable(f"is damaged at {wanted[0] - self.info.start:.2f}s")
        return picked

    def _frames_around(self, time: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames from one at or before time on."""
        for earlier in (0.0, 2.0, 10.0):  # some formats seek past the target: then ask for an earlier one
            if not self.seek(time - earlier):
                break
            frames = self.frames()
            first = next(frames, None)
            if first is not None and first[0] <= time + EPSILON:
                yield first
                yield from frames
                return
        self.reopen()
        yield from self.frames()

    def _picture(self, frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
        info = self.info
        rows, columns = scaled_size(info.height, info.width, height, width)
        if info.transposed:
            rows, columns = columns, rows
        picture = self._scaler.reformat(
            frame, columns, rows, "rgb24", interpolation=_FILTER, threads=1
        ).to_ndarray()
        if info.transposed:
            picture = picture.transpose(1, 0, 2)
        picture = picture[:: -1 if info.flip_y else 1, :: -1 if info.flip_x else 1]
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        return picture[top : top + height, left : left + width]


class OpenVideos:
    """The videos that one process has open, at most `limit`; the one unused longest is closed first."""

    def __init__(self, opener: Callable[[VideoInfo], Reader], limit: int = 8) -> None:
        self._opener, self._limit = opener, limit
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, info: VideoInfo) -> Reader:
        if self._process != os.getpid():  # a forked worker would share the position in its parent's files
            self.close()
            self._process = os.getpid()
        if info.path not in self._readers:
            while len(self._readers) >= self._limit:
                self._readers.popitem(last=False)[1].close()
            self._readers[info.path] = self._opener(info)
        self._readers.move_to_end(info.path)
        return self._readers[info.path]

    def close(self) -> None:
        """Close them all."""
        while self._readers:
            self._readers.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": OrderedDict()}


def scaled_size(height: int, width: int, to_height: int, to_width: int) -> tuple[int, int]:
    """The size of this shape that just covers (to_height, to_width)."""
    scale = max(to_height / height, to_width / width)
    return max(to_height, round(height * scale)), max(to_width, round(width * scale))


def as_video(pictures: UInt8[np.ndarray, "t h w 3"]) -> UInt8[torch.Tensor, "t 3 h w"]:
    """Pictures as a clip holds them."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def in_words(error: Exception) -> str:
    """What went wrong, without numbers and paths."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _open(path: str) -> tuple[Any, Any]:
    """A container and its first moving stream."""
    try:
        container = av.open(path, metadata_errors="replace")
    except FAILURES as error:
        reason = in_words(error)
        if isinstance(error, av.error.InvalidDataError):
            reason = "not a video, or cut off" if os.path.getsize(path) else "empty file"
        raise Unreadable(reason) from error
    covers = av.stream.Disposition.attached_pic  # the picture of an album, not a video
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    problem = None
    if not streams:
        problem = "only sound, no video" if container.streams.audio else "no video in it"
    elif streams[0].codec_context is None:
        problem = "PyAV has no decoder for it"
    if problem:
        container.close()
        raise Unreadable(problem)
    streams[0].thread_type, streams[0].codec_context.thread_count = "SLICE", 1
    return container, streams[0]
