"""What every quantiser does around its codes."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor


def full_precision(latents: Tensor) -> AbstractContextManager[None]:
    """Autocast off: between two codes eight bits of mantissa often cannot choose."""
    device = "cpu" if latents.is_meta else latents.device.type  # autocast does not know meta
    return torch.autocast(device, enabled=False)


def rows(latents: Float[Tensor, "*n d"]) -> Float[Tensor, "rows d"]:
    """All features below each other, in float32 or better."""
    return latents.reshape(-1, latents.shape[-1]).to(torch.promote_types(latents.dtype, torch.float32))


def project(layer: nn.Linear | nn.Identity, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
    """A projection in the precision of x, whatever the weights are kept in."""
    if isinstance(layer, nn.Identity):
        return x
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def straight_through(
    latents: Float[Tensor, "rows d"], quantized: Float[Tensor, "rows d"]
) -> Float[Tensor, "rows d"]:
    """Values of quantized to the bit, gradient to latents alone (VQ-VAE, section 3.2)."""
    return quantized.detach() + (latents - latents.detach())


def has_values(tensor: Tensor) -> bool:
    """Whether there is anything to learn codes from: estimates of cost run without values."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))
