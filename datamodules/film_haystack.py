"""Needles in long videos: a rare shape shows for a few frames, and a question asks which it was."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.clip_order import Bucket
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_asked, numbers_of
from datamodules.moving_shapes import COLOURS, SHAPES, drawn

FRAMES_PER_SECOND = 10.0
QUESTION = "what appears?"
GREY = 0.4  # of the disc that is always there


class FilmHaystack:
    """A ClipSource of long dull clips: a grey disc wanders; in `shown` frames a coloured shape stands for it.

    Clip: video (t, 3, h, w); text "a red square appears"; question "what appears?", answer "red square". All
    pure functions of the arguments here; 6 colours and 3 shapes, so that guessing is right once in 18.

    Args:
        lengths: frames of clips, as many of each; a batch is of one length. None: all have num_frames.
        shown: frames in which the shape shows.
        size: radius of what is shown over the shorter side of the picture.

    Raises: SourceError for sizes that show nothing.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        lengths: list[int] | None = None,
        shown: int = 1,
        size: float = 0.25,
        num_clips: int = 100_000,
    ) -> None:
        lengths = [num_frames] if lengths is None else lengths
        shortest = min(lengths, default=0)
        if not 1 <= shown <= shortest or min(height, width) < 16 or not 0 < size <= 0.3 or num_clips < 1:
            told = f"{shown} of {shortest} frames of {height}x{width}, size {size:g}"
            raise SourceError(
                f"film_haystack: {told}; show it in 1 to all frames of 16x16 or more, size up to 0.3"
            )
        if max(lengths) > num_frames:
            raise SourceError(f"film_haystack: lengths go to {max(lengths)}, num_frames is {num_frames}")
        self.num_frames, self.height, self.width, self.seed = num_frames, height, width, seed
        self.lengths = lengths
        self.shown, self.radius, self.num_clips = shown, size * min(height, width), num_clips

    @property
    def guessing(self) -> float:
        """How often an answer drawn at random is right."""
        return 1 / (len(COLOURS) * len(SHAPES))

    def spec(self) -> ClipSpec:
        shape = {"num_frames": self.num_frames, "height": self.height, "width": self.width}
        if len(self.lengths) == 1:
            return ClipSpec(**shape)
        return ClipSpec(**shape, buckets=tuple(sorted({self.bucket_of(i) for i in range(len(self.lengths))})))

    def split(self, name: Split) -> Dataset:
        made = FilmClips if len(self.lengths) > 1 else DrawnClips
        return made(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def bucket_of(self, index: int) -> Bucket:
        """Frames, height and width of a clip."""
        return self.lengths[index % len(self.lengths)], self.height, self.width

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        made = self._made(rng, self.bucket_of(index)[0], rng.random())
        return made | {"id": f"film_haystack/seed{self.seed}/{split}/{index}"}

    def sample(self, *, length: int, depth: float, index: int) -> dict[str, Any]:
        """A clip of this many frames for a test, with the shape at this depth."""
        rng = numbers_asked(self.seed, length, index)
        told = f"film_haystack/seed{self.seed}/test/{length}/{depth:g}/{index}"
        return self._made(rng, length, depth) | {"id": told}

    def _made(self, rng: np.random.Generator, num_frames: int, depth: float) -> dict[str, Any]:
        colour, shape = (str(rng.choice(list(words))) for words in (COLOURS, SHAPES))
        steps = rng.normal(scale=0.5, size=(num_frames, 2)).cumsum(axis=0)
        room = np.array([self.width, self.height]) - 1 - 2 * self.radius
        start = rng.uniform(size=2) * room
        path = self.radius + np.abs((start + steps) % (2 * room) - room)  # turns round at the edges
        frames = drawn("disc", (GREY,) * 3, path, self.radius, self.height, self.width)
        first = round(depth * (num_frames - self.shown))
        here = slice(first, first + self.shown)
        frames[here] = drawn(shape, COLOURS[colour], path[here], self.radius, self.height, self.width)
        return {
            "video": torch.from_numpy(frames),
            "text": f"a {colour} {shape} appears",
            "question": QUESTION,
            "answer": f"{colour} {shape}",
            "fps": torch.tensor(FRAMES_PER_SECOND),
        }


class FilmClips(DrawnClips):
    """One split whose clips are of several lengths."""

    source: FilmHaystack

    def bucket_of(self, index: int) -> Bucket:
        return self.source.bucket_of(index)
