"""Queries or keys of several streams in one row of heads: normalised, rotated, laid side by side."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

Part = tuple[Tensor, Tensor]
"""A projection "b n f" and the weight "d" of its norm, f = heads * d."""


def normed_heads(
    parts: Sequence[Part], turns: Complex[Tensor, "b n 1 p"] | Complex[Tensor, "1 n 1 p"] | None, eps: float
) -> Float[Tensor, "b s h d"]:
    """The RMS norm of every head of every part, one part after the other in s.

    turns: phasors that rotate the feature pairs (2i, 2i + 1) of the first n tokens; None rotates none.
    The result is rounded once and written once, head by head in memory, which attention reads fastest. The
    backward pass keeps the projections alone.
    """
    flat = [tensor for part in parts for tensor in part]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in flat):
        return _NormedHeads.apply(eps, turns, *flat)
    return _forward(eps, turns, flat)[0]


def _forward(eps: float, turns: Tensor | None, flat: Any) -> tuple[Tensor, list[Tensor]]:
    streams = [x.unflatten(-1, (-1, weight.numel())) for x, weight in zip(flat[::2], flat[1::2], strict=True)]
    lengths = [x.shape[1] for x in streams]
    exact = torch.promote_types(streams[0].dtype, torch.float32)
    b, _, h, d = streams[0].shape
    out = torch.empty(b, h, sum(lengths), d, dtype=exact, device=streams[0].device).transpose(1, 2)
    scales = []
    for x, weight, part in zip(streams, flat[1::2], out.split(lengths, dim=1), strict=True):
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact).square_()
        scales.append(scale.div_(d).add_(eps).rsqrt_())
        torch.mul(x, scales[-1], out=part).mul_(weight)
    _turn(out, turns)
    return out.to(streams[0].dtype), scales


def _turn(x: Tensor, turns: Tensor | None) -> None:
    """Rotate the first tokens in place; pairs of neighbours are complex numbers as they lie in memory."""
    if turns is not None:
        torch.view_as_complex(x[:, : turns.shape[1]].unflatten(-1, (-1, 2))).mul_(turns)


class _NormedHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, eps: float, turns: Tensor | None, *flat: Tensor) -> Tensor:
        out, scales = _forward(eps, turns, flat)
        ctx.save_for_backward(turns, *flat, *scales)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        turns, *saved = ctx.saved_tensors
        count = len(saved) // 3
        xs, weights, scales = saved[: 2 * count : 2], saved[1 : 2 * count : 2], saved[2 * count :]
        exact = scales[0].dtype
        grad = grad.to(exact, copy=turns is not None, memory_format=torch.contiguous_format)
        _turn(grad, None if turns is None else turns.conj())
        grads: list[Tensor | None] = [None, None]
        lengths = [x.shape[1] for x in xs]
        for part, x, weight, scale in zip(grad.split(lengths, dim=1), xs, weights, scales, strict=True):
            wide = weight.to(exact)
            product = part * x.unflatten(-1, (-1, weight.numel()))
            grad_weight = scale.flatten() @ product.flatten(0, 2)
            coupling = (product @ wide).unsqueeze(-1).mul_(scale.pow(3)).div_(-weight.numel())
            grad_x = torch.mul(part, wide, out=product).mul_(scale)
            grad_x.addcmul_(x.unflatten(-1, (-1, weight.numel())), coupling)
            grads += [grad_x.flatten(2).to(x.dtype), grad_weight.to(weight.dtype)]
        return tuple(grads)
