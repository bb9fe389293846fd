"""The kernels of Finn et al. 2016 as first published: no identity kernel, zeros outside the image."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.pushing_unet import xavier_initialised
from components.transformations.cdna import as_distribution, correlate


def pad_zeros(images: Float[Tensor, "b c h w"], kernel_size: int) -> Float[Tensor, "b c h2 w2"]:
    """Room for a kernel around every pixel; what is fetched from outside is black."""
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    return F.pad(images, (before, after, before, after))


class FinnCDNA(nn.Module):
    """Kernels read linearly from the bottleneck and normalised; borders are black.

    Motion is (b, n, k, k), each kernel positive and of sum 1.
    Source: Finn et al. 2016 (arXiv 1605.07157), section 3.2.
    """

    def __init__(
        self,
        *,
        bottleneck_shape: tuple[int, int, int],
        feature_channels: int,
        num_frames: int = 1,
        num_warps: int = 9,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        self.num_warps, self.kernel_size = num_warps, kernel_size
        channels, height, width = bottleneck_shape
        self.kernels = nn.Linear(channels * height * width, num_frames * num_warps * kernel_size**2)
        xavier_initialised(self)

    def forward(
        self, bottleneck: Float[Tensor, "b k i j"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b n s s"]:
        kernels = self.kernels(bottleneck.flatten(1))
        return as_distribution(kernels.unflatten(1, (-1, self.kernel_size, self.kernel_size)))

    def warp(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b m s s"]
    ) -> Float[Tensor, "b m c h w"]:
        return correlate(pad_zeros(images, motion.shape[-1]), motion)

    def regulariser(self, motion: Float[Tensor, "b n s s"]) -> Float[Tensor, ""]:
        return motion.new_zeros(())


class FinnDNA(nn.Module):
    """A kernel a pixel, read by a 1x1 convolution from the full-resolution features and normalised.

    Motion is (b, n, k, k, h, w), each kernel positive and of sum 1.
    Source: Finn et al. 2016 (arXiv 1605.07157), section 3.1.
    """

    def __init__(
        self,
        *,
        bottleneck_shape: tuple[int, int, int],
        feature_channels: int,
        num_frames: int = 1,
        num_warps: int = 1,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        self.num_warps, self.kernel_size = num_warps, kernel_size
        self.kernels = nn.Conv2d(feature_channels, num_frames * num_warps * kernel_size**2, 1)
        xavier_initialised(self)

    def forward(
        self, bottleneck: Float[Tensor, "b k i j"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b n s s h w"]:
        kernels = self.kernels(features)
        return as_distribution(kernels.unflatten(1, (-1, self.kernel_size, self.kernel_size)))

    def warp(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b m s s h w"]
    ) -> Float[Tensor, "b m c h w"]:
        size = motion.shape[2]
        neighbours = F.unfold(pad_zeros(images, size), size)
        neighbours = neighbours.unflatten(2, images.shape[2:]).unflatten(1, (images.shape[1], size**2))
        taps = motion.flatten(2, 3)
        return torch.stack([(kernel[:, None] * neighbours).sum(2) for kernel in taps.unbind(1)], dim=1)

    def regulariser(self, motion: Float[Tensor, "b n s s h w"]) -> Float[Tensor, ""]:
        return motion.new_zeros(())
