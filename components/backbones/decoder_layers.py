"""The norm and the gate of a decoder, with backward passes that keep and read little.

Written out they are chains of small operations, each of which reads and writes every token: at width 512 a
composite RMSNorm's backward pass costs a CPU as much as a product of matrices.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis. Source: arXiv 1910.07467, eq. (4)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        if x.device.type != "cpu" or x.dtype != self.weight.dtype:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)  # one kernel on an accelerator
        if torch.is_grad_enabled():
            return _RMSNorm.apply(x, self.weight, self.eps)
        return (x / _root(x, self.eps)).to(x.dtype).mul_(self.weight)


def _root(x: Float[Tensor, "*n d"], eps: float) -> Float[Tensor, "*n 1"]:
    """sqrt(mean(x^2) + eps), in float32 or better."""
    exact = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    return norm.div_(x.shape[-1] ** 0.5).hypot_(norm.new_full((), eps**0.5))


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _root(x, eps).reciprocal_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        rows = (-1, x.shape[-1])
        product = (grad * x).view(rows).to(scale.dtype)
        coupling = (product @ weight.to(scale.dtype)).view_as(scale) * scale.pow(3).div_(x.shape[-1])
        grad_x = (grad * weight).mul_(scale).addcmul_(x, coupling, value=-1).to(x.dtype)
        return grad_x, (scale.view(-1) @ product).to(weight.dtype), None


def swiglu(gate_up: Float[Tensor, "*n g"]) -> Float[Tensor, "*n f"]:
    """silu(gate) * up from both side by side, g = 2 f; the backward pass keeps only what came in."""
    return _SwiGLU.apply(gate_up) if torch.is_grad_enabled() else _gated(gate_up)


def _gated(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return _gated(gate_up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        grad_gate, grad_up = out.chunk(2, dim=-1)
        torch.mul(F.silu(gate), grad, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return out
