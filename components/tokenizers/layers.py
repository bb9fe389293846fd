"""Layers of image autoencoders in the manner of VQGAN."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NORM_EPSILON = 1e-6


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """Statistics over a group's channels and all pixels of one image.

    Raises ValueError for channels that the groups do not divide.
    """
    if channels % groups:
        raise ValueError(f"{groups} norm groups do not divide {channels} channels")
    return nn.GroupNorm(groups, channels, eps=NORM_EPSILON)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), 3x3; a 1x1 convolution of x where the widths differ."""

    def __init__(self, *, in_channels: int, out_channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, norm_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, norm_groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h w"]:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SpatialAttention(nn.Module):
    """x + single-head self-attention over all pixels of one image, after a group norm."""

    def __init__(self, *, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, norm_groups)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(pixels).unsqueeze(1).chunk(3, dim=-1)  # one head
        mixed = self.output(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[-2:])


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, one zero row below and one zero column to the right: half the size."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Each pixel four times, then a 3x3 convolution: twice the size.

    Computed as one transposed convolution of stride 2 whose 4x4 kernel sums the taps that meet the same
    pixel: 16 taps a pixel instead of 36, forward and backward in about half the time on CPU.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        kernel = F.avg_pool2d(self.conv.weight, 2, stride=1, padding=1, divisor_override=1)
        return F.conv_transpose2d(x, kernel.flip(-2, -1).transpose(0, 1), self.conv.bias, stride=2, padding=1)
