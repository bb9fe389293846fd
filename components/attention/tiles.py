"""Attention tile by tile: exact, with nothing of size s x s, forward and backward.

Notation: a block is what one process holds of keys and values; a tile is a chunk of queries by a chunk of a
block. Tensors of heads are "b h s d". Numbers that tiles are added up in are float32, float64 for float64.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FUSED_ON = ("cpu",)  # devices on which torch's fused kernel takes a mask and tells its logarithms
FLASH = (torch.float16, torch.bfloat16)  # what the fused kernel of CUDA takes, and no mask but the causal one
Queries = Float[Tensor, "b h q d"]
Keys = Float[Tensor, "b h k d"]


class Places(NamedTuple):
    """Who sees whom: a query sees the keys of its segment up to its own position; -1 is no segment."""

    segments: Int[Tensor, "b s"]
    positions: Int[Tensor, "b s"]


class Tile(NamedTuple):
    """Slots of queries and of keys.

    whole: every query of it sees every key.  causal: query i of n sees the first i + 1 of n keys.
    """

    queries: slice
    keys: slice
    whole: bool
    causal: bool = False


def live_tiles(queries: Places, keys: Places, query_chunk: int, key_chunk: int) -> list[Tile]:
    """The tiles in which some query may see some key; none that has such a pair is left out.

    Within a segment a key is seen from its own position on; so a tile is empty where the last of its queries,
    ordered by (segment, position), comes before the first of its keys, or where they share no segment.
    """
    queries, keys = (Places(*(x.cpu() for x in places)) for places in (queries, keys))
    span = 1 + int(max(queries.positions.max(), keys.positions.max()))
    q, k = _extents(queries, query_chunk, span), _extents(keys, key_chunk, span)
    first_q, last_q, real_q, some_q = (x[:, None] for x in q)
    first_k, last_k, real_k, some_k = k
    shared = (first_q // span <= last_k // span) & (last_q // span >= first_k // span)
    live = (some_q & some_k & shared & (last_q >= first_k)).any(dim=-1)
    one = (first_q // span == last_q // span) & (first_k // span == last_k // span)
    alike = one & (first_q // span == first_k // span) & real_q & real_k
    whole = (alike & (first_q >= last_k)).all(dim=-1)
    alike = alike.all(dim=-1)
    tiles = []
    for i, j in live.nonzero().tolist():
        mine = slice(i * query_chunk, (i + 1) * query_chunk)
        theirs = slice(j * key_chunk, (j + 1) * key_chunk)
        causal = bool(alike[i, j]) and _causal(queries.positions[:, mine], keys.positions[:, theirs])
        tiles.append(Tile(mine, theirs, bool(whole[i, j]), causal and not whole[i, j]))
    return tiles


def visible(queries: Places, keys: Places, tile: Tile) -> Bool[Tensor, "b 1 q k"]:
    """Which pairs of a tile there are."""
    segment_q, segment_k = queries.segments[:, tile.queries, None], keys.segments[:, None, tile.keys]
    earlier = queries.positions[:, tile.queries, None] >= keys.positions[:, None, tile.keys]
    return ((segment_q == segment_k) & (segment_q >= 0) & earlier)[:, None]


def attend_tile(
    q: Queries, k: Keys, v: Keys, seen: Bool[Tensor, "b 1 q k"] | None, causal: bool = False
) -> tuple[Queries, Float[Tensor, "b h q"]]:
    """Softmax attention over these keys alone, and the logarithm of what its weights were divided by.

    A query that sees none gives 0 and -inf. seen: None = all, or by `causal` query i the first i + 1.
    """
    if q.device.type in FUSED_ON:
        bias = None if seen is None else _bias(seen, q.dtype)
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = fused(q, k, v, 0.0, causal, attn_mask=bias)
        return out, lse if seen is None else lse.masked_fill(~seen.any(dim=-1), -torch.inf)
    if _flash(q, seen):
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
        return out, lse
    scores = _scores(q, k, seen, causal)
    lse = scores.logsumexp(dim=-1)
    weights = torch.exp(scores - torch.where(lse == -torch.inf, 0.0, lse)[..., None])
    return weights @ v.to(weights.dtype), lse


def tile_gradients(
    grad: Queries,
    q: Queries,
    k: Keys,
    v: Keys,
    out: Queries,
    lse: Float[Tensor, "b h q"],
    seen: Bool[Tensor, "b 1 q k"] | None,
    causal: bool = False,
) -> tuple[Queries, Keys, Keys]:
    """What one tile adds to the gradients of q, k and v. out and lse: over all keys, not these alone."""
    lse = torch.where(lse == -torch.inf, torch.inf, lse)  # sees nothing: all of its weights are 0
    found: tuple[Tensor, Tensor, Tensor]
    if q.device.type in FUSED_ON:
        bias = None if seen is None else _bias(seen, q.dtype)
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        found = fused(grad, q, k, v, out, lse, 0.0, causal, attn_mask=bias)
        return found
    if _flash(q, seen):
        flash = torch.ops.aten._scaled_dot_product_flash_attention_backward
        lengths, dice = (q.shape[2], k.shape[2]), torch.empty(2, dtype=torch.uint64, device=q.device)
        found = flash(grad, q, k, v, out, lse.contiguous(), None, None, *lengths, 0.0, causal, dice, dice[0])
        return found
    weights = torch.exp(_scores(q, k, seen, causal) - lse[..., None])
    grad, q, k, v, out = (x.to(weights.dtype) for x in (grad, q, k, v, out))
    shares = (grad * out).sum(dim=-1, keepdim=True)
    d_scores = weights * (grad @ v.mT - shares) * q.shape[-1] ** -0.5
    return d_scores @ k, d_scores.mT @ q, weights.mT @ grad


def merge(
    out: Queries, lse: Float[Tensor, "b h q"], more: Queries, more_lse: Float[Tensor, "b h q"]
) -> tuple[Queries, Float[Tensor, "b h q"]]:
    """Attention over two sets of keys from attention over each."""
    top = torch.maximum(lse, more_lse)
    top = torch.where(top == -torch.inf, 0.0, top)
    share, more_share = torch.exp(lse - top), torch.exp(more_lse - top)
    total = share + more_share
    merged = (out * share[..., None] + more * more_share[..., None]) / total.clamp(min=1e-30)[..., None]
    return merged, top + total.log()


def precise(dtype: torch.dtype) -> torch.dtype:
    """In which tiles are added up."""
    return torch.promote_types(torch.float32, dtype)


def _flash(q: Tensor, seen: Tensor | None) -> bool:
    return q.device.type == "cuda" and q.dtype in FLASH and seen is None


def _scores(q: Queries, k: Keys, seen: Tensor | None, causal: bool) -> Float[Tensor, "b h q k"]:
    q, k = (x.to(precise(x.dtype)) for x in (q, k))  # a product in bfloat16 would be rounded before the exp
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    return scores if seen is None else scores.masked_fill(~seen, -torch.inf)


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf)


def _extents(places: Places, chunk: int, span: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each chunk and row: first and last of its slots by (segment, position), are all real, is any."""
    found = []
    for segments, positions in zip(
        places.segments.split(chunk, dim=1), places.positions.split(chunk, dim=1), strict=True
    ):
        real, order = segments >= 0, segments.long() * span + positions
        first = order.masked_fill(~real, torch.iinfo(torch.long).max).amin(dim=1)
        found.append((first, order.masked_fill(~real, 0).amax(dim=1), real.all(dim=1), real.any(dim=1)))
    first, last, real, some = (torch.stack(column) for column in zip(*found, strict=True))
    return first, last, real, some


def _causal(queries: Tensor, keys: Tensor) -> bool:
    """Whether by their positions query i sees the first i + 1 keys, in tiles of one segment."""
    if queries.shape != keys.shape:
        return False
    rise = all((x.diff(dim=1) > 0).all() for x in (queries, keys))
    return rise and bool((queries >= keys).all() and (queries[:, :-1] < keys[:, 1:]).all())
