"""SVG's small frame coder, of strided convolutions."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.first_weights import normal_initialise
from components.frame_coders import FrameCode
from components.frame_coders.layers import (
    Normalisation,
    from_code,
    normed,
    stage_widths,
    to_code,
)


class DCGANCoder(nn.Module):
    """Halves with 4x4 convolutions of stride 2, doubles with transposed ones; skips after every halving.

    height, width: pixels; the shorter side is halved until it is 4 to 7, which both sides must allow.
    channels: width of the first stage, eight times as wide at the most.
    normalisation: batch, as published, whose statistics mix the clips of a batch in training; group sees a
        frame alone.
    Raises ValueError for sizes that do not fit.
    Source: SVG (arXiv 1802.07687), dcgan_64 and dcgan_128 of the official code, here at any size.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        image_channels: int = 3,
        code_dim: int = 128,
        channels: int = 64,
        normalisation: Normalisation = "batch",
    ) -> None:
        super().__init__()
        self.image_channels, self.code_dim = image_channels, code_dim
        widths = stage_widths(height, width, channels)
        size = height >> len(widths), width >> len(widths)
        self.halving = nn.ModuleList(
            normed(nn.Conv2d(i, o, 4, stride=2, padding=1), normalisation)
            for i, o in pairwise([image_channels, *widths])
        )
        self.to_code = to_code(widths[-1], code_dim, size, normalisation)
        self.from_code = from_code(code_dim, widths[-1], size, normalisation)
        self.doubling = nn.ModuleList(
            normed(nn.ConvTranspose2d(2 * i, o, 4, stride=2, padding=1), normalisation)
            for i, o in pairwise(widths[::-1])
        )
        self.paint = nn.Sequential(
            nn.ConvTranspose2d(2 * widths[0], image_channels, 4, stride=2, padding=1), nn.Sigmoid()
        )
        normal_initialise(self)

    def encode(self, frame: Float[Tensor, "b c h w"]) -> FrameCode:
        skips = []
        for halve in self.halving:
            frame = halve(frame)
            skips.append(frame)
        return FrameCode(self.to_code(frame).flatten(1), tuple(skips))

    def decode(
        self, code: Float[Tensor, "b g"], skips: tuple[Tensor, ...]
    ) -> Float[Tensor, "b c height width"]:
        x = self.from_code(code[:, :, None, None])
        for double, skip in zip([*self.doubling, self.paint], reversed(skips), strict=True):
            x = double(torch.cat([x, skip], dim=1))
        return x
