"""Rows of tokens cut for the processes that share them."""

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from components.context_parallel import ContextGroup, Layout
from components.sequences.packing import PADDING, Packed


def slots_of(layout: Layout, length: int, rank: int, size: int) -> Int[Tensor, " n"]:
    """Slots of a row that a process holds, in the order in which it holds them.

    Raises: ValueError for a length that does not divide.
    """
    pieces = 2 * size if layout == "zigzag" and size > 1 else size
    if length % pieces:
        raise ValueError(f"a row of {length} slots cannot be cut into {pieces} pieces; pad it first")
    slots = torch.arange(length)
    if layout == "striped":
        return slots[rank::size]
    cut = slots.view(pieces, -1)
    return cut[rank] if pieces == size else torch.cat([cut[rank], cut[pieces - 1 - rank]])


def local_share(packed: Packed, context: ContextGroup) -> Packed:
    """This process's tokens of rows that all processes of the group have packed alike.

    Rows are padded to a length that divides. Targets stay with their tokens, since they are shifted before.
    counts is divided among the processes, so that its sum over all processes is what it was.
    """
    if context.size == 1:
        return packed
    length = packed.tokens.shape[1]
    missing = -length % (2 * context.size)
    mine = slots_of(context.layout, length + missing, context.rank, context.size)
    mine = mine.to(packed.tokens.device)

    def share(values: Tensor, empty: int = 0) -> Tensor:
        return F.pad(values, (0, missing), value=empty)[:, mine]

    return Packed(
        tokens=share(packed.tokens),
        is_vision=share(packed.is_vision),
        targets=share(packed.targets),
        target_is_vision=share(packed.target_is_vision),
        weights=share(packed.weights),
        segments=share(packed.segments, PADDING),
        positions=share(packed.positions),
        counts=packed.counts / context.size,
    )
