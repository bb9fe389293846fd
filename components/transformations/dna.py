"""DNA: every pixel is gathered from its neighbourhood by a kernel of its own."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.convolutions import conv, conv_norm_relu
from components.transformations.cdna import as_distribution, identity_kernel, pad_symmetric


class DNA(nn.Module):
    """Kernels read by two convolutions from the full-resolution features, added to the identity, normalised.

    Motion is (b, n, k, k, h, w), each kernel positive and of sum 1.
    Source: Finn et al. 2016, as in SAVP's code, which adds the identity kernel and pads symmetrically.
    """

    identity: Tensor

    def __init__(
        self,
        *,
        bottleneck_shape: tuple[int, int, int],
        feature_channels: int,
        num_frames: int = 1,
        num_warps: int = 4,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        self.num_warps = num_warps
        self.head = conv_norm_relu(feature_channels, feature_channels)
        self.kernels = conv(feature_channels, num_frames * num_warps * kernel_size**2, 3)
        self.register_buffer("identity", identity_kernel(kernel_size), persistent=False)

    def forward(
        self, bottleneck: Float[Tensor, "b k i j"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b n s s h w"]:
        kernels = self.kernels(self.head(features)).unflatten(1, (-1, *self.identity.shape))
        return as_distribution(kernels + self.identity[:, :, None, None])

    def warp(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b m s s h w"]
    ) -> Float[Tensor, "b m c h w"]:
        size = motion.shape[2]
        neighbours = F.unfold(pad_symmetric(images, size), size)
        neighbours = neighbours.unflatten(2, images.shape[2:]).unflatten(1, (images.shape[1], size**2))
        taps = motion.flatten(2, 3)
        return torch.stack([(kernel[:, None] * neighbours).sum(2) for kernel in taps.unbind(1)], dim=1)

    def regulariser(self, motion: Float[Tensor, "b n s s h w"]) -> Float[Tensor, ""]:
        return motion.new_zeros(())
