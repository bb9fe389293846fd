"""Ring attention: processes that share rows pass keys and values around, and none ever holds a whole row.

Forward, step i of W: process r attends to the block of process r - i while that block is on its way to r + 1.
Backward: each block goes round once more, with what has been found of its gradient, which ends at home.
Kept for the backward pass: q, k, v, the output, and a logarithm a query and head.

Source: Ring Attention (arXiv 2310.01889); blockwise attention (arXiv 2305.19370). As in the official code the
own block comes first; unlike there, keys and values take W - 1 hops and not W.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from components.attention import Attend, Attention
from components.attention.causal import causal_attention
from components.attention.tiles import (
    Places,
    Tile,
    attend_tile,
    live_tiles,
    merge,
    precise,
    tile_gradients,
    visible,
)
from components.context_parallel import ALONE, ContextGroup, context_group
from components.sequences.context_shards import slots_of


class Plan(NamedTuple):
    """What of a pass all layers share. places, tiles: of each process's block, by its rank."""

    context: ContextGroup
    places: list[Places]
    tiles: list[list[Tile]]

    def seen(self, source: int, tile: Tile) -> Tensor | None:
        """The mask of a tile of this process's queries and the keys of `source`, where it needs one."""
        if tile.whole or tile.causal:
            return None
        return visible(self.places[self.context.rank], self.places[source], tile)


class BlockwiseAttention:
    """Exact causal attention within segments in memory that grows with the row, in one process.

    query_chunk, key_chunk: tokens of a tile.
    """

    def __init__(self, *, query_chunk: int = 1024, key_chunk: int = 1024) -> None:
        self.chunks = _chunks(query_chunk, key_chunk)

    def __call__(
        self, *, segments: Int[Tensor, "b s"] | None, positions: Int[Tensor, "b s"] | None
    ) -> Attend:
        return _attend(ALONE, segments, positions, self.chunks)


class RingAttention:
    """Exact causal attention within segments, over rows that the processes of a context group share.

    Where no group is in use, `alone` plans. segments, positions: of the tokens that this process holds; by
    default one segment, in the slots that the group's layout gives it. A segment's id stands once in a row.
    query_chunk, key_chunk: tokens of a tile.
    """

    def __init__(
        self, *, alone: Attention = causal_attention, query_chunk: int = 1024, key_chunk: int = 1024
    ) -> None:
        self.alone, self.chunks = alone, _chunks(query_chunk, key_chunk)

    def __call__(
        self, *, segments: Int[Tensor, "b s"] | None, positions: Int[Tensor, "b s"] | None
    ) -> Attend:
        if context_group().size == 1:
            return self.alone(segments=segments, positions=positions)
        return _attend(context_group(), segments, positions, self.chunks)


def _chunks(query_chunk: int, key_chunk: int) -> tuple[int, int]:
    if min(query_chunk, key_chunk) < 1:
        raise ValueError(f"query_chunk is {query_chunk}, key_chunk {key_chunk}; give at least 1 token")
    return query_chunk, key_chunk


def _attend(
    context: ContextGroup, segments: Tensor | None, positions: Tensor | None, chunks: tuple[int, int]
) -> Attend:
    plan: list[Plan] = []  # made by the first layer, which says how long rows are

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not plan:
            plan.append(_plan(context, segments, positions, chunks, q))
        heads = [x.transpose(1, 2) for x in (q, k, v)]
        device = q.device.type
        if torch.is_autocast_enabled(device):
            heads = [x.to(torch.get_autocast_dtype(device)) for x in heads]
        with torch.autocast(device, enabled=False):  # within a tile the precisions are chosen
            out: Tensor = _Ring.apply(*heads, plan[0])
        return out.transpose(1, 2)

    return attend


def _plan(
    context: ContextGroup,
    segments: Tensor | None,
    positions: Tensor | None,
    chunks: tuple[int, int],
    q: Tensor,
) -> Plan:
    rows, length = q.shape[:2]
    if positions is None:
        own = slots_of(context.layout, length * context.size, context.rank, context.size)
        positions = own.to(q.device).expand(rows, -1)
    if segments is None:
        segments = torch.zeros_like(positions)
    own_places = torch.stack([segments.long(), positions.long().expand(rows, -1)])
    gathered = [torch.empty_like(own_places) for _ in range(context.size)]
    if context.size == 1:
        gathered = [own_places]
    else:
        dist.all_gather(gathered, own_places, group=context.group)
    places = [Places(*x.unbind()) for x in gathered]
    piece = max(1, length // 2) if context.layout == "zigzag" and context.size > 1 else length
    even = [_even(piece, chunk) for chunk in chunks]
    tiles = [live_tiles(places[context.rank], block, *even) for block in places]
    return Plan(context, places, tiles)


def _even(piece: int, chunk: int) -> int:
    """At most `chunk`, and such that cuts fall where pieces meet that lie apart in the row, if they can."""
    return math.ceil(piece / math.ceil(piece / chunk))


class _Ring(torch.autograd.Function):
    """q "b h s d", k and v "b g s d" of this process -> "b h s d"; the gradients likewise."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
        context, kind = plan.context, precise(q.dtype)
        out = torch.zeros(q.shape, dtype=kind, device=q.device)
        lse = torch.full(q.shape[:-1], -torch.inf, dtype=kind, device=q.device)
        block = torch.stack([k, v])
        for step in range(context.size):
            coming = _Hop(block, context) if step < context.size - 1 else None
            source = (context.rank - step) % context.size
            for tile in plan.tiles[source]:
                seen = plan.seen(source, tile)
                keys, values = _repeated(block[..., tile.keys, :], q.shape[1])
                mine = tile.queries
                found, found_lse = attend_tile(q[:, :, mine], keys, values, seen, tile.causal)
                out[:, :, mine], lse[:, :, mine] = merge(out[:, :, mine], lse[:, :, mine], found, found_lse)
            block = coming.arrived() if coming else block
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (grad,) = grads
        q, k, v, out, lse = ctx.saved_tensors
        plan: Plan = ctx.plan
        context, kind = plan.context, precise(q.dtype)
        dq = torch.zeros(q.shape, dtype=kind, device=q.device)
        block = torch.stack([k, v])
        d_coming: _Hop | None = None
        for step in range(context.size):
            coming = _Hop(block, context) if step < context.size - 1 else None
            source = (context.rank - step) % context.size
            d_block = torch.zeros(block.shape, dtype=kind, device=q.device)
            for tile in plan.tiles[source]:
                seen = plan.seen(source, tile)
                keys, values = _repeated(block[..., tile.keys, :], q.shape[1])
                mine = tile.queries
                g, x, o, logs = (whole[:, :, mine] for whole in (grad, q, out, lse))
                found = tile_gradients(g, x, keys, values, o, logs, seen, tile.causal)
                dq[:, :, mine] += found[0]
                groups = (k.shape[1], -1)
                for part, more in zip(d_block, found[1:], strict=True):
                    part[:, :, tile.keys] += more.to(kind).unflatten(1, groups).sum(dim=2)
            if d_coming is not None:  # what the processes before have found for this block
                d_block += d_coming.arrived()
            if context.size > 1:
                d_coming = _Hop(d_block, context)
            block = coming.arrived() if coming else block
        d_k, d_v = (d_coming.arrived() if d_coming is not None else d_block).to(q.dtype)
        return dq.to(q.dtype), d_k, d_v, None


class _Hop:
    """A tensor on its way to the next process, while the one before sends as much."""

    def __init__(self, sent: Tensor, context: ContextGroup) -> None:
        self._sent, self._received = sent, torch.empty_like(sent)
        after, before = ((context.rank + step) % context.size for step in (1, -1))
        moves = [
            dist.P2POp(dist.isend, sent, group=context.group, group_peer=after),
            dist.P2POp(dist.irecv, self._received, group=context.group, group_peer=before),
        ]
        self._work = dist.batch_isend_irecv(moves)

    def arrived(self) -> Tensor:
        for work in self._work:
            work.wait()
        return self._received


def _repeated(block: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Keys and values of grouped heads, one for each query head."""
    keys, values = block.repeat_interleave(heads // block.shape[2], dim=2)
    return keys, values
