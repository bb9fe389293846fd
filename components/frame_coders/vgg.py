"""SVG's large frame coder, in the manner of VGG."""

from itertools import pairwise

import torch
import torch.nn.functional as F
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

DEEP = 2  # stages from this one on have three convolutions, those before it two


class VGGCoder(nn.Module):
    """Stages of 3x3 convolutions between max pooling and nearest upsampling; skips before every pooling.

    height, width: pixels; the shorter side is halved until it is 4 to 7, which both sides must allow.
    channels: width of the first stage, eight times as wide at the most.
    normalisation: batch, as published, whose statistics mix the clips of a batch in training; group sees a
        frame alone.
    Raises ValueError for sizes that do not fit.
    Source: SVG (arXiv 1802.07687), vgg_64 and vgg_128 of the official code, here at any size.
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

        def stage(chain: list[int]) -> nn.Sequential:
            layers = [normed(nn.Conv2d(i, o, 3, padding=1), normalisation) for i, o in pairwise(chain)]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(
            stage([i, o, o, o] if depth >= DEEP else [i, o, o])
            for depth, (i, o) in enumerate(pairwise([image_channels, *widths]))
        )
        self.to_code = to_code(widths[-1], code_dim, size, normalisation)
        self.from_code = from_code(code_dim, widths[-1], size, normalisation)
        self.up = nn.ModuleList(
            stage([2 * widths[depth], *[widths[depth]] * (2 if depth >= DEEP else 1), widths[depth - 1]])
            for depth in range(len(widths) - 1, 0, -1)
        )
        self.paint = nn.Sequential(
            *stage([2 * widths[0], widths[0]]),
            nn.ConvTranspose2d(widths[0], image_channels, 3, padding=1),
            nn.Sigmoid(),
        )
        normal_initialise(self)

    def encode(self, frame: Float[Tensor, "b c h w"]) -> FrameCode:
        skips = []
        for down in self.down:
            features = down(frame)
            skips.append(features)
            frame = F.max_pool2d(features, 2)
        return FrameCode(self.to_code(frame).flatten(1), tuple(skips))

    def decode(
        self, code: Float[Tensor, "b g"], skips: tuple[Tensor, ...]
    ) -> Float[Tensor, "b c height width"]:
        x = self.from_code(code[:, :, None, None])
        for up, skip in zip([*self.up, self.paint], reversed(skips), strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1))
        return x
