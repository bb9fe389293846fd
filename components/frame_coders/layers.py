"""What the frame coders are built from: sizes and normalised convolutions."""

import math
from typing import Literal

from torch import nn

Normalisation = Literal["batch", "group"]

LARGEST = 8  # times the width of the first stage
CODED_SIDE = 4  # pixels; the shorter side of the last maps
GROUP = 16  # channels normalised together


def stage_widths(height: int, width: int, channels: int) -> list[int]:
    """Channels of every stage: doubled up to eight times; the shorter side is halved down to 4 pixels.

    64x64 gives 4 stages, 128x128 gives 5. Raises ValueError for sides that cannot be halved so often.
    """
    stages = int(math.log2(max(min(height, width), 1) / CODED_SIDE))
    stride = 2 ** max(stages, 1)
    if stages < 1 or height % stride or width % stride:
        told = f"make both sides multiples of {stride}, 8 at least"
        raise ValueError(f"frames of {height}x{width} do not fit the frame coder; {told}")
    return [channels * min(2**stage, LARGEST) for stage in range(stages)]


def norm(normalisation: Normalisation, channels: int) -> nn.Module:
    """Batch norm, or group norm over groups of about 16 channels, which sees one frame alone."""
    if normalisation == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(channels, max(channels // GROUP, 1)), channels)


def normed(layer: nn.Conv2d | nn.ConvTranspose2d, normalisation: Normalisation) -> nn.Sequential:
    """A convolution, its norm, leaky ReLU 0.2."""
    return nn.Sequential(layer, norm(normalisation, layer.out_channels), nn.LeakyReLU(0.2, inplace=True))


def to_code(
    channels: int, code_dim: int, size: tuple[int, int], normalisation: Normalisation
) -> nn.Sequential:
    """The last maps as one vector in [-1, 1]: (b, c, *size) -> (b, g, 1, 1)."""
    return nn.Sequential(nn.Conv2d(channels, code_dim, size), norm(normalisation, code_dim), nn.Tanh())


def from_code(
    code_dim: int, channels: int, size: tuple[int, int], normalisation: Normalisation
) -> nn.Sequential:
    """A vector as the first maps of a decoder: (b, g, 1, 1) -> (b, c, *size)."""
    return normed(nn.ConvTranspose2d(code_dim, channels, size), normalisation)
