"""Frames judged one by one: SNGAN's network."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from components.backbones.convolutions import initialised


class ImageDiscriminator(nn.Module):
    """Seven convolutions and a linear layer, spectrally normalised, leaky ReLU 0.1: one logit a frame.

    (b, t, c, h, w) in [0, 1] -> logits (b * t), features 7 x (b * t, f, h', w').
    With num_frames = 1 it is the official code's "image" discriminator, with a clip's its "images".
    Raises ValueError for frames under 8 pixels.
    Source: SAVP's official code, image_sn_discriminator.
    """

    def __init__(
        self, *, height: int, width: int, num_frames: int = 1, image_channels: int = 3, channels: int = 32
    ) -> None:
        super().__init__()
        if min(height, width) < 8:
            raise ValueError(f"ImageDiscriminator cannot judge frames of {height}x{width}; it needs 8x8")
        self.num_frames = num_frames
        n = channels
        widths = [(image_channels, n), (n, 2 * n), (2 * n, 2 * n), (2 * n, 4 * n)]
        widths += [(4 * n, 4 * n), (4 * n, 8 * n), (8 * n, 8 * n)]
        self.convolutions = nn.ModuleList()
        for i, (inputs, outputs) in enumerate(widths):
            halve = i % 2 == 1
            layer = nn.Conv2d(inputs, outputs, 4 if halve else 3, 2 if halve else 1, padding=1)
            self.convolutions.append(spectral_norm(initialised(layer)))
        self.head = spectral_norm(initialised(nn.Linear(8 * n * (height // 8) * (width // 8), 1)))

    def forward(
        self, clip: Float[Tensor, "b t c h w"]
    ) -> tuple[Float[Tensor, " n"], list[Float[Tensor, "n _channels ..."]]]:
        x = clip.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.convolutions:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.head(x.flatten(1)).squeeze(1), features
