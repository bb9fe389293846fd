"""Causal attention inside segments: dense parts on a CPU, one kernel with a block mask on an accelerator."""

from functools import cache
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.attention import Attend

PADDING = -1


def causal_attention(*, segments: Int[Tensor, "b s"] | None, positions: Int[Tensor, "b s"] | None) -> Attend:
    """Plan attention of a token to itself and to the slots before it with its segment id.

    Slots with segment -1 are padding: they see nothing, nothing sees them, and their output is 0.
    Rows are in order, so that positions say nothing new here; a ring over permuted rows needs them.
    Source: masked packing, LWM (arXiv 2402.08268), section 4.2.
    """
    if segments is None:
        return attend_densely
    if segments.device.type == "cuda":
        return flex_plan(segments)
    lengths = runs(segments)
    return attend_by_mask(segment_mask(segments)) if lengths is None else attend_in_parts(lengths)


def attend_densely(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention over whole rows: "b s h d", "b s g d", "b s g d" -> "b s h d"."""
    return _scaled_dot_product(q, k, v, None, True)


def attend_to_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without a mask: "b s h d", "b t g d", "b t g d" -> "b s h d"."""
    return _scaled_dot_product(q, k, v, None, False)


def segment_mask(segments: Int[Tensor, "b s"]) -> Bool[Tensor, "b 1 s s"]:
    """What a query (third axis) sees of the keys (last axis): the reference form of this file."""
    same = (segments[:, :, None] == segments[:, None, :]) & (segments >= 0)[:, :, None]
    return same.tril()[:, None]


def attend_by_mask(mask: Bool[Tensor, "b 1 s t"]) -> Attend:
    """Attention under a dense mask; a query that sees nothing gives 0."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _scaled_dot_product(q, k, v, mask, False)

    return attend


def runs(segments: Int[Tensor, "b s"]) -> list[tuple[int, bool]] | None:
    """(length, is real) of each run of equal ids, row after row; None where an id comes back later."""
    parts = []
    for row in segments.tolist():
        found = [(segment, len(list(run))) for segment, run in groupby(row)]
        real = [segment for segment, _ in found if segment != PADDING]
        if len(set(real)) < len(real):
            return None
        parts += [(length, segment != PADDING) for segment, length in found]
    return parts


def attend_in_parts(parts: list[tuple[int, bool]]) -> Attend:
    """Dense causal attention inside each run of slots: the work of the segments' squares, and no mask."""
    lengths = [length for length, _ in parts]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        pieces = zip(*(x.flatten(0, 1).split(lengths) for x in (q, k, v)), strict=True)
        out = [
            attend_densely(*(x[None] for x in piece))[0] if real else torch.zeros_like(piece[0])
            for piece, (_, real) in zip(pieces, parts, strict=True)
        ]
        return torch.cat(out).view_as(q)

    return attend


def flex_plan(segments: Int[Tensor, "b s"]) -> Attend:
    """One fused kernel that skips the blocks no segment reaches; nothing of size s x s is made."""
    from torch.nn.attention.flex_attention import create_block_mask

    batch, length = segments.shape
    block_mask = create_block_mask(
        lambda b, h, query, key: (
            (query >= key) & (segments[b, query] == segments[b, key]) & (segments[b, query] != PADDING)
        ),
        *(batch, None, length, length, segments.device),
        _compile=True,
    )
    flex = _compiled_flex()

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = flex(q, k, v, block_mask=block_mask, enable_gqa=q.shape[1] != k.shape[1])
        return out.transpose(1, 2)

    return attend


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _scaled_dot_product(
    q: Float[Tensor, "b s h d"],
    k: Float[Tensor, "b t g d"],
    v: Float[Tensor, "b t g d"],
    mask: Bool[Tensor, "b 1 s t"] | None,
    is_causal: bool,
) -> Float[Tensor, "b s h d"]:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=grouped)
    return out.transpose(1, 2)
