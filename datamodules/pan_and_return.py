"""A camera pans over a scene and comes back: what it showed before is to be shown again."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_of

FRAMES_PER_SECOND = 10.0


class PanAndReturn:
    """A ClipSource of a strip of colours; the view moves right, a pixel a frame, then back.

    Frame `turn` + n shows what frame `turn` - n showed, for every n up to turn; then the view moves right
    again. Clip: video (t, 3, h, w).

    Args:
        turn: frames to the right.
        smooth: pixels from a column of any colours to the next; those in between go evenly from one to the
            other, so that views of about the same place look alike.

    Raises: SourceError for sizes that show nothing.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        turn: int,
        smooth: int = 4,
        num_clips: int = 100_000,
    ) -> None:
        if min(num_frames, height, width, turn, smooth, num_clips) < 1:
            told = f"{num_frames} frames of {height}x{width}, turn {turn}, smooth {smooth}"
            raise SourceError(f"pan_and_return: {told}; give at least 1 of each")
        self.num_frames, self.height, self.width, self.seed = num_frames, height, width, seed
        self.turn, self.smooth, self.num_clips = turn, smooth, num_clips

    def spec(self) -> ClipSpec:
        return ClipSpec(num_frames=self.num_frames, height=self.height, width=self.width)

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        places = np.arange(self.width + self.turn) / self.smooth
        drawn = rng.uniform(size=(self.height, int(places[-1]) + 2, 3))
        left, share = places.astype(int), (places % 1)[:, None]
        strip = (1 - share) * drawn[:, left] + share * drawn[:, left + 1]
        times = np.arange(self.num_frames) % (2 * self.turn)
        first = self.turn - abs(times - self.turn)
        video = strip[:, first[:, None] + np.arange(self.width)].transpose(1, 3, 0, 2)  # t 3 h w
        return {
            "video": torch.from_numpy((video * 255).round().astype(np.uint8)),
            "fps": torch.tensor(FRAMES_PER_SECOND),
            "id": f"pan_and_return/seed{self.seed}/{split}/{index}",
        }
