"""Clips from videos of all shapes and lengths, each in the bucket that fits it best."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from datamodules import SourceError, Split
from datamodules.buckets import aspect_sizes, longest_that_fits, nearest_size
from datamodules.clip_order import Bucket
from datamodules.decoding import OpenVideos
from datamodules.video_index import open_video
from datamodules.video_splits import SPLITS, Stretch
from datamodules.videos import VideoClips, Videos


class BucketedVideos:
    """Videos as datamodules.videos reads them, in sizes and lengths near to their own.

    A clip has the size of the nearest aspect ratio among those of about the area height x width, sides
    multiples of step, and the longest of num_frames, one length or several, that its video has room for. A
    video tokenizer asks for lengths of 1 + k n frames and sides that its factor divides. max_aspect: longer
    side over shorter one. Videos that are too short for all lengths are left out. root, fps, stride,
    assumed_fps: as Videos'.
    Raises: SourceError where no usable video is left.
    """

    def __init__(
        self,
        *,
        root: str | list[str],
        num_frames: int | list[int],
        height: int,
        width: int,
        step: int = 16,
        max_aspect: float = 2.0,
        fps: float | None = None,
        stride: int = 1,
        assumed_fps: float = 10.0,
    ) -> None:
        lengths = [num_frames] if isinstance(num_frames, int) else sorted(num_frames)
        if not lengths or step < 1:
            raise SourceError("data: num_frames needs at least one length, and step must be at least 1")
        self.num_frames, self.step, self.max_aspect = lengths, step, max_aspect
        self.videos = Videos(
            root=root,
            num_frames=self.num_frames[0],
            height=height,
            width=width,
            fps=fps,
            stride=stride,
            assumed_fps=assumed_fps,
        )
        try:
            self.frame_sizes = aspect_sizes(height * width, step, max_aspect)
        except ValueError as error:
            raise SourceError(f"data: {error}; change height, width, step or max_aspect") from error

    def spec(self) -> ClipSpec:
        """Shapes of the largest bucket, and every bucket that has clips."""
        buckets = tuple(sorted({bucket for split in SPLITS for bucket in self._stretches[split]}))
        frames, height, width = max(buckets, key=lambda size: size[0] * size[1] * size[2])
        whole = self.videos.spec()
        return replace(whole, num_frames=frames, height=height, width=width, buckets=buckets)

    def split(self, name: Split) -> "BucketedClips":
        """The clips of one split as a map-style data set, with `bucket_of`."""
        spec, stride = self.videos.spec(), self.videos.stride
        parts = {}
        for (frames, height, width), stretches in sorted(self._stretches[name].items()):
            shape = replace(spec, num_frames=frames, height=height, width=width)
            parts[frames, height, width] = VideoClips(
                stretches, shape, stride=stride if name == "train" else frames
            )
        return BucketedClips(parts)

    def settings(self) -> dict[str, Any]:
        """All that decides what clips look like, but for the files."""
        own = {"num_frames": self.num_frames, "step": self.step, "max_aspect": self.max_aspect}
        return self.videos.settings() | own

    @property
    def skipped(self) -> dict[str, str]:
        """Files that cannot be used: name -> why."""
        return self.videos.skipped

    @cached_property
    def _stretches(self) -> dict[Split, dict[Bucket, list[Stretch]]]:
        return {split: self._by_bucket(self.videos.stretches(split)) for split in SPLITS}

    def _by_bucket(self, stretches: list[Stretch]) -> dict[Bucket, list[Stretch]]:
        buckets = defaultdict(list)
        for stretch in stretches:
            frames = longest_that_fits(stretch.end - stretch.first, self.num_frames)
            assert frames is not None  # Videos left out what is too short for the shortest
            size = nearest_size(stretch.info.height, stretch.info.width, self.frame_sizes)
            buckets[frames, *size].append(stretch)
        return dict(buckets)


class BucketedClips(Dataset):
    """The clips of one split, bucket after bucket; see VideoClips.

    A clip that does not decode is replaced by one of its bucket.
    """

    def __init__(self, parts: Mapping[Bucket, VideoClips]) -> None:
        self.buckets, self.parts = list(parts), list(parts.values())
        self._ends = list(accumulate(len(part) for part in self.parts))
        shared = OpenVideos(open_video)  # or every bucket would keep its own files open
        for part in self.parts:
            part.open_videos = shared

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        part, at = self._locate(index)
        return self.parts[part][at]

    def bucket_of(self, index: int) -> Bucket:
        """Frames, height and width of a clip."""
        return self.buckets[self._locate(index)[0]]

    def name_of(self, index: int) -> str:
        """The video that a clip is cut from."""
        part, at = self._locate(index)
        return self.parts[part].name_of(at)

    def key_of(self, index: int) -> str:
        """What a clip is made of, and its bucket."""
        part, at = self._locate(index)
        return f"{self.parts[part].key_of(at)} {self.buckets[part]}"

    def _locate(self, index: int) -> tuple[int, int]:
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)
