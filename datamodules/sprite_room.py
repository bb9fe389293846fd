"""A sprite walks through a room that never changes: what drifts there is the model."""

from math import inf
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_of

FRAMES_PER_SECOND = 10.0
WIDER = 3  # times the picture: the strip that a scrolling room comes round on
SPRITE = 2  # cells a side
_PALETTE = 11  # a stream of its own


class SpriteRoom:
    """A ClipSource of 2x2 white pixels that walk to the right, round and round, before coloured pixels.

    They walk along the two lowest rows and leave the picture on one side to enter it on the other, so that
    all is certain after one frame, and what they hide is little of the room.

    A longer clip of the same split and index begins with the shorter one. Clip: video (t, 3, h, w).

    Args:
        background: palette, each pixel one of `colours` fixed colours with a little noise, so that pixels
            cluster as latents of real videos do in part; continuous, each of any colour.
        noise: standard deviation of a palette's noise, of 1 = white.
        scroll: pixels a frame by which the background moves to the left, round and round.

    Raises: SourceError for sizes without room for the sprite.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        background: Literal["palette", "continuous"] = "palette",
        colours: int = 16,
        noise: float = 0.03,
        scroll: float = 0.0,
        num_clips: int = 100_000,
    ) -> None:
        moves = 0 <= noise < inf and abs(scroll) < inf
        if min(num_frames, colours, num_clips) < 1 or min(height, width) <= SPRITE or not moves:
            size = f"{num_frames} frames of {height}x{width}"
            told = f"{size}, {colours} colours, noise {noise:g}, scroll {scroll:g}"
            raise SourceError(f"sprite_room: {told}; give 1 frame of 3x3 or more, 1 colour, noise from 0")
        self.num_frames, self.height, self.width, self.seed = num_frames, height, width, seed
        self.background, self.noise, self.scroll, self.num_clips = background, noise, scroll, num_clips
        # the same in every split and for every seed, as the colours of the world are
        self.palette = np.random.Generator(np.random.Philox(key=_PALETTE)).uniform(0.1, 0.9, (colours, 3))

    def spec(self) -> ClipSpec:
        return ClipSpec(num_frames=self.num_frames, height=self.height, width=self.width)

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        strip = self._strip(rng, self.width * (WIDER if self.scroll else 1))
        times = np.arange(self.num_frames)
        columns = np.floor(times * self.scroll).astype(int)[:, None] + np.arange(self.width)
        video = strip[:, columns % strip.shape[1]].transpose(1, 3, 0, 2)  # t 3 h w
        places = rng.integers(self.width) + times
        for column in range(SPRITE):
            video[times, :, -SPRITE:, (places + column) % self.width] = 1.0
        return {
            "video": torch.from_numpy((video * 255).round().astype(np.uint8)),
            "fps": torch.tensor(FRAMES_PER_SECOND),
            "id": f"sprite_room/seed{self.seed}/{split}/{index}",
        }

    def _strip(self, rng: np.random.Generator, width: int) -> np.ndarray:
        """(h, width, 3)."""
        if self.background == "continuous":
            return rng.uniform(0.0, 1.0, (self.height, width, 3))
        colours = self.palette[rng.integers(len(self.palette), size=(self.height, width))]
        return (colours + self.noise * rng.standard_normal(colours.shape)).clip(0.0, 1.0)
