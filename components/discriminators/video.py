"""A clip judged as a whole: SNGAN's network with 3-D convolutions."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from components.backbones.convolutions import initialised


class VideoDiscriminator(nn.Module):
    """Seven 3-D convolutions and a linear layer, spectrally normalised, leaky ReLU 0.1: one logit a clip.

    (b, t, c, h, w) in [0, 1] -> logits (b), features 7 x (b, f, t', h', w'). For 10 frames of 64x64 the
    features are 10x64x64, 9x32x32 twice, 8x16x16 twice, 4x8x8 twice (time first).
    Raises ValueError for clips under 4 frames or frames under 8 pixels.
    Source: SAVP's official code, video_sn_discriminator.
    """

    def __init__(
        self, *, height: int, width: int, num_frames: int = 10, image_channels: int = 3, channels: int = 32
    ) -> None:
        super().__init__()
        if num_frames < 4 or min(height, width) < 8:
            raise ValueError(
                f"VideoDiscriminator cannot judge {num_frames} frames of {height}x{width}; "
                "it needs at least 4 frames of 8x8"
            )
        self.num_frames = num_frames
        n = channels
        widths = [(image_channels, n), (n, 2 * n), (2 * n, 2 * n), (2 * n, 4 * n)]
        widths += [(4 * n, 4 * n), (4 * n, 8 * n), (8 * n, 8 * n)]
        strides = [(1, 1, 1), (1, 2, 2), (1, 1, 1), (1, 2, 2), (1, 1, 1), (2, 2, 2), (1, 1, 1)]
        self.convolutions = nn.ModuleList()
        size = [num_frames, height, width]
        for (inputs, outputs), stride in zip(widths, strides, strict=True):
            kernel_size = 3 if stride == (1, 1, 1) else 4
            layer = nn.Conv3d(inputs, outputs, kernel_size, stride, padding=1)
            self.convolutions.append(spectral_norm(initialised(layer)))
            size = [(length + 2 - kernel_size) // s + 1 for length, s in zip(size, stride, strict=True)]
        self.last_shape = (8 * n, *size)  # of the features that the linear layer reads
        self.head = spectral_norm(initialised(nn.Linear(math.prod(self.last_shape), 1)))

    def forward(
        self, clip: Float[Tensor, "b t c h w"]
    ) -> tuple[Float[Tensor, " b"], list[Float[Tensor, "b _channels ..."]]]:
        # On CPU channels last takes four fifths of the default layout's time (8 channels, 5 frames of 32x32).
        x = clip.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        features = []
        for layer in self.convolutions:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.head(x.flatten(1)).squeeze(1), features
