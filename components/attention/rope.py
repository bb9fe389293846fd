"""Rotary position embedding with angles in float64."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Rotation(NamedTuple):
    """Cosines and sines of every position's angles, in float32 or better; b is 1 where rows share them."""

    cosine: Float[Tensor, "b s 1 f"]
    sine: Float[Tensor, "b s 1 f"]


class Rope:
    """Turn each pair of a head's features by position * theta^(-2i/d).

    half-split (interleaved=False): a pair is features i and i + d/2, as in transformers.
    interleaved: features 2i and 2i + 1, the layout of Meta's and LWM's weights.
    Angles are products in float64: in float32 they are off by 2e-2 rad at a million tokens, and a table built
    in bfloat16 tells 769 of the first 4096 positions apart.
    Source: RoFormer (arXiv 2104.09864), eq. (34); theta and layout as in LWM's llama.py.
    """

    def __init__(self, *, theta: float = 10_000.0, interleaved: bool = False) -> None:
        self.theta = theta
        self.interleaved = interleaved

    def angles(self, positions: Int[Tensor, "*n"], head_dim: int) -> Float[Tensor, "*n f"]:
        """Angles in float64, one a pair of features."""
        pairs = torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions.device)
        return positions.to(torch.float64)[..., None] * self.theta ** (-pairs / head_dim)

    def rotation(self, positions: Int[Tensor, "b s"], head_dim: int, dtype: torch.dtype) -> Rotation:
        """The rotation of every position; dtype is that of the features."""
        angles = self.angles(positions, head_dim)[:, :, None]
        precision = torch.promote_types(dtype, torch.float32)
        return Rotation(angles.cos().to(precision), angles.sin().to(precision))

    def rotate(
        self, x: Float[Tensor, "b s h d"], rotation: Rotation, out: Tensor | None = None
    ) -> Float[Tensor, "b s h d"]:
        """Rotated copy of x; gradients do not flow (rotated_heads has them)."""
        out = x.new_empty(x.shape) if out is None else out
        first, second = self._pairs(x)
        out_first, out_second = self._pairs(out)
        cosine, sine = rotation
        if x.dtype == cosine.dtype:
            torch.mul(first, cosine, out=out_first).addcmul_(second, sine, value=-1)
            torch.mul(second, cosine, out=out_second).addcmul_(first, sine)
        else:  # bfloat16 features are turned in float32 and rounded once
            first, second = first.to(cosine.dtype), second.to(cosine.dtype)
            out_first.copy_((first * cosine).addcmul_(second, sine, value=-1))
            out_second.copy_((second * cosine).addcmul_(first, sine))
        return out

    def _pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.interleaved:
            return x[..., 0::2], x[..., 1::2]
        half = x.shape[-1] // 2
        return x[..., :half], x[..., half:]


def rotated_heads(
    fused: Float[Tensor, "b s f"], rotation: Rotation, rope: Rope, num_heads: int, num_kv_heads: int
) -> tuple[Float[Tensor, "b s h d"], Float[Tensor, "b s g d"], Float[Tensor, "b s g d"]]:
    """Cut a fused projection into the heads of q, k and v and rotate q and k."""
    sizes = (num_heads, num_kv_heads, num_kv_heads)
    if torch.is_grad_enabled() and fused.requires_grad:
        return _RotatedHeads.apply(fused, *rotation, rope, sizes)
    return _rotate_heads(fused, rotation, rope, sizes)


def _rotate_heads(
    fused: Tensor, rotation: Rotation, rope: Rope, sizes: tuple[int, int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    heads = fused.unflatten(-1, (sum(sizes), -1))
    turned = rope.rotate(heads[:, :, : -sizes[2]], rotation)
    return turned[:, :, : sizes[0]], turned[:, :, sizes[0] :], heads[:, :, -sizes[2] :]


class _RotatedHeads(torch.autograd.Function):
    """One function instead of a chain of views and products: its gradient is written once.

    v is copied because attention keeps it, and a view would keep the whole projection.
    """

    @staticmethod
    def forward(
        ctx: Any, fused: Tensor, cosine: Tensor, sine: Tensor, rope: Rope, sizes: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cosine, sine)
        ctx.rope, ctx.sizes = rope, sizes
        q, k, v = _rotate_heads(fused, Rotation(cosine, sine), rope, sizes)
        return q, k, v.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cosine, sine = ctx.saved_tensors
        back = Rotation(cosine, -sine)
        grad_q, grad_k, grad_v = grads
        b, s, _, d = grad_q.shape
        fused = grad_q.new_empty(b, s, sum(ctx.sizes), d)
        q, k, v = fused.split(ctx.sizes, dim=2)
        ctx.rope.rotate(grad_q, back, q)
        ctx.rope.rotate(grad_k, back, k)
        v.copy_(grad_v)
        return fused.flatten(2), None, None, None, None
