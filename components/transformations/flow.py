"""Flow: every pixel is fetched from where a predicted vector points."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.convolutions import conv, conv_norm_relu


class Flow(nn.Module):
    """Vectors read by two convolutions from the full-resolution features.

    Motion is (b, n, 2, h, w): x then y, in pixels; the pixel at (x, y) is fetched from (x, y) + motion,
    bilinearly, and from the nearest border pixel if that lies outside.
    Source: SAVP's official code (flow_ops.py); the total variation as in Visual Foresight.
    """

    def __init__(
        self,
        *,
        bottleneck_shape: tuple[int, int, int],
        feature_channels: int,
        num_frames: int = 1,
        num_warps: int = 4,
    ) -> None:
        super().__init__()
        self.num_warps = num_warps
        self.head = conv_norm_relu(feature_channels, feature_channels)
        self.vectors = conv(feature_channels, num_frames * num_warps * 2, 3)

    def forward(
        self, bottleneck: Float[Tensor, "b k i j"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b n 2 h w"]:
        return self.vectors(self.head(features)).unflatten(1, (-1, 2))

    def warp(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b m 2 h w"]
    ) -> Float[Tensor, "b m c h w"]:
        b, m, _, height, width = motion.shape
        vectors = motion.to(images.dtype)  # positions in full precision, also under autocast
        x = torch.arange(width, device=images.device) + vectors[:, :, 0]
        y = torch.arange(height, device=images.device)[:, None] + vectors[:, :, 1]
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        repeated = images.repeat_interleave(m, dim=0)
        moved = F.grid_sample(repeated, grid.flatten(0, 1), padding_mode="border", align_corners=True)
        return moved.unflatten(0, (b, m))

    def regulariser(self, motion: Float[Tensor, "b n 2 h w"]) -> Float[Tensor, ""]:
        """Total variation: mean absolute difference of neighbouring vectors, summed over warps, x and y."""
        across = motion.diff(dim=4).abs().mean(dim=(0, 3, 4)).sum()
        down = motion.diff(dim=3).abs().mean(dim=(0, 3, 4)).sum()
        return across + down
