"""Patch layers of a video transformer: one of its own for each size that the context is cut to."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.denoiser import Segment


class ContextPatches(nn.Module):
    """Tokens of context segments, from an independent layer for each kernel.

    kernels: of the segments, 1 cuts the patches (1, 2, 2) of the base; powers of two. A segment with a larger
    kernel is averaged down to the largest of them first.
    Layers are called proj, proj_2x, proj_4x, ... as in FramePack's public weights.
    Source: FramePack (arXiv 2504.12626), independent patchifying parameters.
    """

    def __init__(self, *, channels: int, dim: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.kernels = kernels
        for kernel in kernels:
            size = (kernel, 2 * kernel, 2 * kernel)
            self.add_module(_name(kernel), nn.Conv3d(channels, dim, kernel_size=size, stride=size))

    def patches(self, segment: Segment) -> Float[Tensor, "b n d"]:
        """Tokens of one segment, columns fastest; far sides are padded by the last latents to whole patches.

        Raises ValueError for a kernel that has no layer.
        """
        kernel, latents = segment.kernel, segment.latents
        largest = max(self.kernels)
        if kernel > largest and kernel % largest == 0:
            ratio = kernel // largest
            latents = padded(latents, (kernel, 2 * kernel, 2 * kernel)).transpose(1, 2)
            latents, kernel = F.avg_pool3d(latents, ratio).transpose(1, 2), largest
        if kernel not in self.kernels:
            known = ", ".join(map(str, self.kernels))
            raise ValueError(
                f"no patch layer for kernel {kernel}, there are {known}: name it in context_kernels"
            )
        return patchify(latents, self._layer(kernel))

    @torch.no_grad()
    def init_from(self, base: nn.Conv3d) -> None:
        """Begin as an average of k^3 latents followed by the base's (1, 2, 2) patch layer."""
        for kernel in self.kernels:
            weight = base.weight / kernel**3
            for axis in (2, 3, 4):
                weight = weight.repeat_interleave(kernel, dim=axis)
            layer = self._layer(kernel)
            layer.load_state_dict({"weight": weight, "bias": base.bias})

    def _layer(self, kernel: int) -> nn.Conv3d:
        layer = self.get_submodule(_name(kernel))
        assert isinstance(layer, nn.Conv3d)
        return layer


def _name(kernel: int) -> str:
    return "proj" if kernel == 1 else f"proj_{kernel}x"


def padded(x: Float[Tensor, "b l c i j"], size: tuple[int, ...]) -> Float[Tensor, "b l2 c i2 j2"]:
    """The latents with their last frame, row and column repeated up to multiples of size."""
    for axis, step in zip((1, 3, 4), size, strict=True):
        if missing := -x.shape[axis] % step:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([x, last.expand(*(missing if i == axis else -1 for i in range(5)))], dim=axis)
    return x


def patchify(x: Float[Tensor, "b l c i j"], layer: nn.Conv3d) -> Float[Tensor, "b n d"]:
    """The layer's convolution, whose stride is its kernel, as one product of matrices."""
    t, h, w = layer.kernel_size
    x = padded(x, (t, h, w))
    cells = x.unflatten(4, (-1, w)).unflatten(3, (-1, h)).unflatten(1, (-1, t))  # b l t c i h j w
    rows = cells.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
    return F.linear(rows, layer.weight.flatten(1), layer.bias)


class PatchLayer(nn.Module):
    """Tokens of the latents to be denoised: patches of (1, 2, 2)."""

    def __init__(self, *, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, dim, (1, 2, 2), stride=(1, 2, 2))

    def forward(self, x: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b n d"]:
        return patchify(x, self.proj)
