"""Patch layers of the context against convolutions, padding and averages written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.backbones.context_patches import ContextPatches, patchify
from components.backbones.denoiser import Segment


def layers(kernels: tuple[int, ...] = (1, 2, 4)) -> tuple[ContextPatches, nn.Conv3d]:
    torch.manual_seed(0)
    base = nn.Conv3d(3, 10, (1, 2, 2), stride=(1, 2, 2)).double()
    return ContextPatches(channels=3, dim=10, kernels=kernels).double(), base


def segment(frames: int, height: int, width: int, kernel: int) -> Segment:
    latents = torch.randn(2, frames, 3, height, width, dtype=torch.float64)
    return Segment(latents, torch.arange(frames).expand(2, -1), kernel)


def convolved(layer: nn.Conv3d, latents: Tensor) -> Tensor:
    """The layer as a convolution over replicate-padded latents."""
    x = latents.transpose(1, 2)
    sides = zip(x.shape[:1:-1], layer.kernel_size[::-1], strict=True)
    padding = [side for size, step in sides for side in (0, -size % step)]
    return layer(F.pad(x, padding, mode="replicate")).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("frames", "height", "width"), [(16, 16, 16), (2, 12, 20), (5, 7, 13), (1, 1, 1)])
@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_tokens_are_a_convolution_over_padded_latents(
    kernel: int, frames: int, height: int, width: int
) -> None:
    patches, _ = layers()
    given = segment(frames, height, width, kernel)
    made = patches.patches(given)
    layer = patches.get_submodule("proj" if kernel == 1 else f"proj_{kernel}x")
    assert (made - convolved(layer, given.latents)).abs().max() < 1e-12
    count = -(-frames // kernel) * -(-height // (2 * kernel)) * -(-width // (2 * kernel))
    assert made.shape == (2, count, 10)


@pytest.mark.parametrize("kernel", [1, 2, 4, 8])
def test_a_new_layer_is_the_base_after_an_average(kernel: int) -> None:
    patches, base = layers((1, 2, 4, 8))
    patches.init_from(base)
    given = segment(2 * kernel, 4 * kernel, 6 * kernel, kernel)
    pooled = F.avg_pool3d(given.latents.transpose(1, 2), kernel).transpose(1, 2)
    assert (patches.patches(given) - patchify(pooled, base)).abs().max() < 1e-12


def test_a_kernel_beyond_the_layers_is_averaged_down_to_the_largest() -> None:
    patches, base = layers((1, 2))
    patches.init_from(base)
    given = segment(9, 20, 33, 8)
    padded = F.pad(given.latents.transpose(1, 2), (0, 15, 0, 12, 0, 7), mode="replicate")
    wanted = patchify(F.avg_pool3d(padded, 8).transpose(1, 2), base)
    assert (patches.patches(given) - wanted).abs().max() < 1e-12


def test_a_kernel_without_a_layer_is_refused() -> None:
    patches, _ = layers((1, 4))
    with pytest.raises(ValueError, match=r"^no patch layer for kernel 2, there are 1, 4: name it"):
        patches.patches(segment(2, 4, 4, 2))
