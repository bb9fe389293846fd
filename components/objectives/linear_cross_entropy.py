"""Cross-entropy of a linear head whose logits are never whole in memory."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_BYTES = 2**26  # of logits in memory at once where no chunk is given
CACHE_LOGITS = 2**18  # a CPU's softmax works on so many logits at a time, or each pass goes through memory


def linear_cross_entropy(
    hidden: Float[Tensor, "n d"],
    weight: Float[Tensor, "v d"],
    targets: Int[Tensor, "n"],
    weights: Float[Tensor, "n"],
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """sum_i weights_i * cross_entropy(hidden_i weight^T, targets_i), in float32 or better.

    chunk: tokens whose logits are in memory at once; None: as many as fill CHUNK_BYTES.
    Gradients of hidden and weight are made in the forward pass, chunk by chunk, so that no product is done
    twice; weights get none, and backward runs once. Under autocast the products run in its dtype, the softmax
    in float32.
    """
    return _LinearCrossEntropy.apply(hidden, weight, targets, weights, chunk)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, chunk: int | None
    ) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        ctx.grads = None
        with torch.autocast(kind, enabled=False):
            head = weight.to(dtype)
            size = chunk or max(1, CHUNK_BYTES // (len(weight) * head.element_size()))
            grad_hidden = torch.empty_like(hidden) if wants_hidden else None
            grad_weight = torch.zeros_like(weight) if wants_weight else None
            buffer = head.new_empty(
                min(size, len(hidden)), len(head)
            )  # one for all chunks: fresh pages are slow
            total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
            for start in range(0, len(hidden), size):
                part = slice(start, start + size)
                x = hidden[part].to(dtype)
                logits = torch.mm(x, head.T, out=buffer[: len(x)])
                total += _losses_into_slopes(
                    logits, targets[part], weights[part], wants_hidden or wants_weight
                )
                if grad_hidden is not None:
                    grad_hidden[part] = logits @ head
                if grad_weight is not None:
                    _accumulate(grad_weight, logits, x)
        ctx.grads = [grad_hidden, grad_weight]
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("linear_cross_entropy went backward already; its gradients are gone")
        hidden, weight = (None if made is None else made.mul_(grad.to(made.dtype)) for made in ctx.grads)
        ctx.grads = None
        return hidden, weight, None, None, None


def _losses_into_slopes(
    logits: Float[Tensor, "n v"], targets: Int[Tensor, "n"], weights: Float[Tensor, "n"], wants_slopes: bool
) -> Float[Tensor, ""]:
    """The weighted sum of losses; logits are overwritten by its derivative."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    rows = max(1, CACHE_LOGITS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    total = logits.new_zeros((), dtype=exact)
    for part in range(0, len(logits), rows):
        block = logits[part : part + rows]
        scale = weights[part : part + rows, None].to(exact)
        target = targets[part : part + rows, None]
        x = block.to(exact)
        largest, at_target = x.amax(dim=1, keepdim=True), x.gather(1, target)
        probabilities = torch.softmax(x, dim=1)
        # the largest probability is 1 / sum exp(x - largest): no second pass of exponentials
        losses = largest - probabilities.amax(dim=1, keepdim=True).log() - at_target
        total += (scale * losses).sum()
        if wants_slopes:
            block.copy_(probabilities.mul_(scale).scatter_add_(1, target, -scale))
    return total


def _accumulate(total: Float[Tensor, "v d"], slopes: Float[Tensor, "n v"], x: Float[Tensor, "n d"]) -> None:
    """total += slopes^T x."""
    if total.dtype == x.dtype:
        total.addmm_(slopes.T, x)
    else:
        total += slopes.T @ x
