"""Scores of a video by itself, without a network: what VDE follows where none is at hand.

They stand in for the learned scores of the VDE paper (MUSIQ, AMT, the LAION aesthetic head), under names of
their own; a VDE over them compares rollouts with each other, not with published figures.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FLAT = 1e-10  # variance that rounding alone gives; one pixel off by 1/255 gives 5e-9 in 256x256 pixels


def sharpness(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, " b"]:
    """Variance of the Laplacian of the luma, mean over frames; 0 for flat frames."""
    grey = _luma(video).flatten(0, 1).unsqueeze(1)
    kernel = grey.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    variance = F.conv2d(grey, kernel).flatten(1).var(dim=1, correction=0)
    variance = variance.where(variance > FLAT, 0.0)
    return variance.unflatten(0, video.shape[:2]).mean(dim=1)


def smoothness(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, " b"]:
    """1 - mean absolute difference of every second frame from the mean of its two neighbours.

    Raises: ValueError for videos under three frames.
    """
    if video.shape[1] < 3:
        raise ValueError(f"smoothness needs at least 3 frames, got {video.shape[1]}")
    video = video.float()
    before, between, after = video[:, :-2:2], video[:, 1:-1:2], video[:, 2::2]
    return 1 - (between - (before + after) / 2).abs().mean(dim=(1, 2, 3, 4))


def colour(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, " b"]:
    """Colourfulness (Hasler and Suesstrunk 2003) plus contrast (deviation of the luma), mean over frames."""
    red, green, blue = video.float().flatten(3).unbind(2)
    opponents = torch.stack((red - green, (red + green) / 2 - blue))
    variances, means = opponents.var(dim=-1, correction=0), opponents.mean(dim=-1)
    colourfulness = variances.sum(dim=0).sqrt() + 0.3 * means.square().sum(dim=0).sqrt()
    contrast = _luma(video).flatten(2).std(dim=-1, correction=0)
    return (colourfulness + contrast).mean(dim=1)


def _luma(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t h w"]:
    weights = torch.tensor([0.299, 0.587, 0.114], device=video.device)
    return (video.float() * weights.reshape(3, 1, 1)).sum(dim=2)
