"""Convolutions that halve or double an image, in the exact form of the official SAVP code (ops.py)."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# The official code asks for 1e-6, but TensorFlow's fused batch norm, through which it normalises, raises
# any smaller value to this one. What ran, and what the released weights saw, is 1.001e-5.
NORM_EPSILON = 1.001e-5

Layer = TypeVar("Layer", nn.Conv2d, nn.Conv3d, nn.Linear)


def truncated_normal_(weight: Tensor) -> Tensor:
    """Fill in place: normal, std 0.02, redrawn beyond two std; every kernel of SAVP starts so."""
    return nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)


def initialised(layer: Layer) -> Layer:
    """The layer with such a kernel and a bias of 0."""
    truncated_normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A stride 1 convolution that keeps the size (zero padding)."""
    return initialised(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2))


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer that starts as SAVP's do."""
    return initialised(nn.Linear(in_features, out_features))


def instance_norm(channels: int) -> nn.GroupNorm:
    """Instance norm with learned gain and bias.

    Group norm with one channel a group is the same function; forward and backward took a third of
    F.instance_norm's time on CPU (0.22 against 0.68 ms for 2x128x32x32, one thread).
    """
    return nn.GroupNorm(channels, channels, eps=NORM_EPSILON)


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, instance norm, ReLU: the first layer of every full-resolution head."""
    return nn.Sequential(
        conv(in_channels, out_channels, 3), instance_norm(out_channels), nn.ReLU(inplace=True)
    )


def tile(vector: Float[Tensor, "b v"], image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b v h w"]:
    """The vector at every pixel of the image, as a view.

    A convolution of it is not a bias: zero padding shows at the border, and under instance norm that border
    is all that is left of it.
    """
    return vector[:, :, None, None].expand(-1, -1, *image.shape[-2:])


class ConvPool(nn.Module):
    """A convolution that keeps the size, then 2x2 average pooling: (b, c, h, w) -> (b, o, h/2, w/2).

    Computed as one convolution of stride 2 whose kernel is the learned one averaged over the four places it
    is pooled from; 36 taps a pooled pixel instead of 100 for kernel 5, 16 instead of 36 for kernel 3.
    Source: conv_pool2d of the official SAVP code.
    """

    pooling: Tensor

    def __init__(self, *, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        truncated_normal_(self.weight)
        taps = torch.eye(kernel_size**2).unflatten(1, (kernel_size, kernel_size))
        pooled = F.avg_pool2d(F.pad(taps, (1, 1, 1, 1)), 2, stride=1)
        self.register_buffer(
            "pooling", pooled.flatten(1), persistent=False
        )  # taps of k x k -> of (k+1) x (k+1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        size = self.weight.shape[-1]
        kernel = (self.weight.flatten(2) @ self.pooling).unflatten(2, (size + 1, size + 1))
        return F.conv2d(x, kernel, self.bias, stride=2, padding=size // 2)


class UpsampleConv(nn.Module):
    """Bilinear upsampling, then a 3x3 convolution: (b, c, h, w) -> (b, o, 2h, 2w).

    Equals a transposed convolution with outer([.25, .75, .75, .25]) of stride 2 without cropping, then a 3x3
    convolution without padding. Within two pixels of the border that is not F.interpolate and a padded
    convolution: there the image fades to zero instead of repeating its edge.
    Computed as one transposed convolution of stride 2 with the 6x6 product of both kernels.
    Source: upsample_conv2d of the official SAVP code.
    """

    spreading: Tensor

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        truncated_normal_(self.weight)
        bilinear = torch.tensor([0.25, 0.75, 0.75, 0.25])
        taps = torch.eye(9).view(9, 1, 3, 3)
        product = F.conv2d(torch.outer(bilinear, bilinear)[None, None], taps, padding=2)
        self.register_buffer("spreading", product.view(9, 36), persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        kernel = (self.weight.transpose(0, 1).flatten(2) @ self.spreading).unflatten(2, (6, 6))
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=2)
