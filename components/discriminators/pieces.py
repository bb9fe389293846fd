"""Pieces of clips for a discriminator that judges fewer frames than a clip has."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pieces(
    video: Float[Tensor, "b t c h w"], starts: Int[Tensor, " b"], length: int
) -> Float[Tensor, "b length c h w"]:
    """`length` frames of each clip, from its own start on."""
    clips = torch.arange(len(video), device=video.device)
    frames = starts[:, None] + torch.arange(length, device=video.device)
    return video[clips[:, None], frames]
