"""A clip as codes: what its frames look like, and what changes after each of them."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from components.clip import Clip
from components.latent_dynamics import LatentDynamics
from components.tokenizers import VideoTokenizer


class FrameCodes(NamedTuple):
    """images: codes of the first f frames in each of their views. codes: of all these frames but the last."""

    images: Int[Tensor, "b f v n"]
    codes: Int[Tensor, "b g m"] | None


def views(clip: Clip) -> list[Tensor]:
    """The clip's videos as floats in [0, 1]: its own, and that of a second camera if there is one."""
    videos = [clip["video"], *([clip["second_video"]] if "second_video" in clip else [])]
    return [video.float().div(255) if video.dtype == torch.uint8 else video for video in videos]


def frame_codes(
    clip: Clip, tokenizer: VideoTokenizer, dynamics: LatentDynamics | None, num_frames: int
) -> FrameCodes:
    """Codes of the first frames of a clip; what changes is seen by the clip's own camera alone.

    Codes of a frame look at the H frames after it; where the clip ends before, its last frame is repeated.
    """
    videos = views(clip)
    images = torch.stack([tokenizer.encode(video[:, :num_frames]).flatten(2) for video in videos], dim=2)
    if dynamics is None or num_frames == 1:
        return FrameCodes(images, None)
    ahead = dynamics.horizon + 1
    codes = [dynamics.encode(videos[0][:, f : f + ahead]) for f in range(num_frames - 1)]
    return FrameCodes(images, torch.stack(codes, dim=1))
