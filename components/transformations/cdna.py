"""CDNA: the whole frame is moved by a few predicted kernels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.backbones.convolutions import linear

RELU_SHIFT = 1e-12  # keeps the sum of a kernel away from zero


def identity_kernel(size: int) -> Float[Tensor, "k k"]:
    """The kernel that gives an image back; of even size, the mean of the four taps around the centre."""
    row = torch.zeros(size)
    row[(size - 1) // 2 : size // 2 + 1] = 1.0
    return torch.outer(row, row) / row.sum() ** 2


def as_distribution(kernels: Float[Tensor, "b n k k *pixels"]) -> Float[Tensor, "b n k k *pixels"]:
    """Kernels clipped to be positive and divided by their sum over the taps: each is a distribution."""
    positive = F.relu(kernels - RELU_SHIFT) + RELU_SHIFT
    return positive / positive.sum(dim=(2, 3), keepdim=True)


def pad_symmetric(images: Float[Tensor, "b c h w"], kernel_size: int) -> Float[Tensor, "b c h2 w2"]:
    """Room for a kernel around every pixel; the border pixel itself is repeated: x1 x0 | x0 x1 x2.

    TensorFlow's SYMMETRIC mode, neither torch's reflect (x2 x1 | x0) nor replicate (x0 x0 | x0).
    """
    for dim in (2, 3):
        images = images.index_select(dim, _mirrored(images.shape[dim], kernel_size, images.device))
    return images


def _mirrored(size: int, kernel_size: int, device: torch.device) -> Int[Tensor, " n"]:
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    index = torch.arange(-before, size + after, device=device)
    return torch.where(index < 0, -1 - index, torch.where(index >= size, 2 * size - 1 - index, index))


def correlate(
    padded: Float[Tensor, "b c h_in w_in"], motion: Float[Tensor, "b m s s"]
) -> Float[Tensor, "b m c h w"]:
    """Each image under each of its clip's kernels; images come padded so that whole windows remain."""
    b, m, size, _ = motion.shape
    device = "cpu" if padded.is_meta else padded.device.type  # autocast does not know meta
    with torch.autocast(device, enabled=False):  # 8 bits of mantissa are too few for a frame
        grouped = padded.transpose(0, 1).to(motion.dtype)  # channels as the batch, clips as the groups
        moved = F.conv2d(grouped, motion.reshape(b * m, 1, size, size), groups=b)
    return moved.unflatten(1, (b, m)).permute(1, 2, 0, 3, 4)


class CDNA(nn.Module):
    """Kernels read linearly from the bottleneck, added to the identity and normalised.

    Motion is (b, n, k, k), each kernel positive and of sum 1.
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
        channels, height, width = bottleneck_shape
        self.kernels = linear(channels * height * width, num_frames * num_warps * kernel_size**2)
        self.register_buffer("identity", identity_kernel(kernel_size), persistent=False)

    def forward(
        self, bottleneck: Float[Tensor, "b k i j"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b n s s"]:
        kernels = self.kernels(bottleneck.flatten(1)).unflatten(1, (-1, *self.identity.shape))
        return as_distribution(kernels + self.identity)

    def warp(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b m s s"]
    ) -> Float[Tensor, "b m c h w"]:
        return correlate(pad_symmetric(images, motion.shape[-1]), motion)

    def regulariser(self, motion: Float[Tensor, "b n s s"]) -> Float[Tensor, ""]:
        return motion.new_zeros(())
