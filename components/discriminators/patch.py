"""Patches of frames judged one by one: PatchGAN."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.first_weights import normal_initialise


class PatchDiscriminator(nn.Module):
    """4x4 convolutions, batch norm, leaky ReLU 0.2; num_layers halvings, then one logit a patch.

    (b, t, c, h, w) in [0, 1] -> logits (b * t * patches), features (num_layers + 1) x (b * t, f, h', w').
    With three layers a patch is 70 x 70 pixels, and one stands at every eighth pixel.
    num_frames: 1 for images, or a clip's frames, each on its own.
    Raises ValueError for frames too small for a logit.
    Source: Isola et al. 2017 (pix2pix); NLayerDiscriminator of the official VQGAN code.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        num_frames: int = 1,
        image_channels: int = 3,
        channels: int = 64,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        least = 3 * 2**num_layers  # the two layers of stride 1 take a pixel each, one is left
        if min(height, width) < least:
            raise ValueError(
                f"PatchDiscriminator cannot judge frames of {height}x{width}; it needs {least}x{least}"
            )
        self.num_frames = num_frames
        widths = [channels * min(2**i, 8) for i in range(num_layers + 1)]
        self.input = nn.Conv2d(image_channels, channels, 4, stride=2, padding=1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 4, stride=2 if depth < num_layers else 1, padding=1, bias=False)
            for depth, (i, o) in enumerate(pairwise(widths), start=1)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.head = nn.Conv2d(widths[-1], 1, 4, padding=1)
        normal_initialise(self)

    def forward(
        self, clip: Float[Tensor, "b t c h w"]
    ) -> tuple[Float[Tensor, " logits"], list[Float[Tensor, "n _channels ..."]]]:
        x = (2.0 * clip.flatten(0, 1) - 1.0).contiguous(memory_format=torch.channels_last)
        features = [F.leaky_relu(self.input(x), 0.2)]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features.append(F.leaky_relu(norm(convolution(features[-1])), 0.2))
        return self.head(features[-1]).flatten(), features
