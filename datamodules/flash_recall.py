"""A colour flashes once, and has to be shown again later: how far back a memory reaches."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_of

FRAMES_PER_SECOND = 10.0
GREY, NOISE = 0.5, 0.03  # of 1 = white; of the frames that say nothing


class FlashRecall:
    """A ClipSource of grey frames, one of which flashes; at the end its colour shows again.

    The last `section` frames: the first is grey, the others have the colour of a frame that lies d frames
    before them, d even from 1 to farthest. Any colour is as likely as any other.
    Clip: video (t, 3, h, w); state (t, 1): d, the same in all frames.

    Args:
        farthest: the largest d; None: as far as there are frames.

    Raises: SourceError for clips without room for a flash.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        section: int = 4,
        farthest: int | None = None,
        num_clips: int = 100_000,
    ) -> None:
        before = num_frames - section
        reach = before if farthest is None else farthest
        if section < 2 or not 1 <= reach <= before or min(height, width, num_clips) < 1:
            told = f"{num_frames} frames of {height}x{width}, {section} to show one up to {reach} before"
            raise SourceError(f"flash_recall: {told}; give a section of 2 or more and frames before it")
        self.num_frames, self.height, self.width, self.seed = num_frames, height, width, seed
        self.section, self.farthest = section, reach
        self.num_clips = num_clips

    def spec(self) -> ClipSpec:
        shape = {"num_frames": self.num_frames, "height": self.height, "width": self.width}
        return ClipSpec(**shape, state_dim=1, state_names=("frames_ago",))

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        ago = 1 + int(rng.integers(self.farthest))
        colour = rng.uniform(size=(3, 1, 1))
        shape = (self.num_frames, 3, self.height, self.width)
        video = GREY + NOISE * rng.standard_normal(shape)
        begin = self.num_frames - self.section
        video[begin - ago] = colour
        video[begin + 1 :] = colour
        return {
            "video": torch.from_numpy((video.clip(0, 1) * 255).round().astype(np.uint8)),
            "state": torch.full((self.num_frames, 1), float(ago)),
            "fps": torch.tensor(FRAMES_PER_SECOND),
            "id": f"flash_recall/seed{self.seed}/{split}/{index}",
        }
