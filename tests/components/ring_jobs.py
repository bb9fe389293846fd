"""Ring attention in four processes, of which groups of 1 to 4 share rows.

`python -m tests.components.ring_jobs FOLDER` is one of them; each writes what it found to FOLDER/RANK.json.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from components.attention import ring
from components.attention.causal import attend_by_mask, segment_mask
from components.attention.ring import RingAttention
from components.attention.rope import Rope
from components.attention.tiles import visible
from components.backbones.causal_decoder import CausalDecoder
from components.context_parallel import ContextGroup, Layout, use_context_group
from components.sequences import Example
from components.sequences.context_shards import local_share, slots_of
from components.sequences.packing import modality_means, pack
from components.vocabularies.two_tables import TwoTables

PROCESSES = 4
LENGTH, ROWS, HEADS, HEAD_DIM = 48, 2, 4, 8  # 48 divides by 2, 4, 6 and 8
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class Case(NamedTuple):
    size: int
    layout: Layout
    rows: str  # whole, or segments with padding
    groups: int  # of keys and values
    dtype: torch.dtype
    chunks: tuple[int, int]


def cases() -> Iterator[Case]:
    doubles = itertools.product(
        range(1, PROCESSES + 1), LAYOUTS, ("whole", "segments"), (2,), ((5, 7), (64, 3))
    )
    for size, layout, rows, groups, chunks in doubles:
        yield Case(size, layout, rows, groups, torch.float64, chunks)
    for size, layout in itertools.product((2, 4), LAYOUTS):
        for dtype in (torch.float32, torch.bfloat16):
            yield Case(size, layout, "segments", HEADS, dtype, (8, 8))


def places(rows: str) -> tuple[Tensor, Tensor]:
    """segments and positions of whole rows, as packing makes them."""
    if rows == "whole":
        return torch.zeros(ROWS, LENGTH, dtype=torch.long), torch.arange(LENGTH).repeat(ROWS, 1)
    lengths = [[13, 1, 20, 9], [30, 2]]
    segments, positions = torch.full((ROWS, LENGTH), -1), torch.zeros(ROWS, LENGTH, dtype=torch.long)
    for row, parts in enumerate(lengths):
        start = 0
        for number, length in enumerate(parts):
            segments[row, start : start + length] = number
            positions[row, start : start + length] = torch.arange(length)
            start += length
    return segments, positions


def draw(case: Case) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    heads = (HEADS, case.groups, case.groups, HEADS)
    return [
        torch.randn(ROWS, LENGTH, h, HEAD_DIM, generator=generator, dtype=torch.float64).to(case.dtype)
        for h in heads
    ]


def errors(case: Case, context: ContextGroup) -> dict[str, float]:
    """Largest difference from dense attention in the same precision, or in double: output and gradients."""
    segments, positions = places(case.rows)
    *inputs, grad = draw(case)
    exact = [x.double().requires_grad_() for x in inputs]
    out = attend_by_mask(segment_mask(segments))(*exact)
    wanted = [out, *torch.autograd.grad(out, exact, grad.double())]
    mine = slots_of(case.layout, LENGTH, context.rank, context.size)
    own = [x[:, mine].requires_grad_() for x in inputs]
    attention = RingAttention(query_chunk=case.chunks[0], key_chunk=case.chunks[1])
    told = {"segments": segments[:, mine], "positions": positions[:, mine]}
    if case.rows == "whole" and case.chunks[0] == 5:
        told = {"segments": None, "positions": None}
    made = attention(**told)(*own)
    found = [made, *torch.autograd.grad(made, own, grad[:, mine])]
    names = ("out", "q", "k", "v")
    return {
        name: float((one.double() - other[:, mine]).abs().max())
        for name, one, other in zip(names, found, wanted, strict=True)
    }


def work(layout: Layout, context: ContextGroup) -> list[int]:
    """Pairs of a query and a key that this process works on, and pairs in the tiles that it computes."""
    mine = slots_of(layout, LENGTH, context.rank, context.size)
    plan = ring._plan(context, None, None, (6, 6), torch.zeros(1, len(mine), 1, 2))
    own = plan.places[context.rank]
    seen = [
        visible(own, block, tile)
        for block, tiles in zip(plan.places, plan.tiles, strict=True)
        for tile in tiles
    ]
    return [sum(int(tile.sum()) for tile in seen), sum(tile.numel() for tile in seen)]


def traffic(context: ContextGroup) -> list[int]:
    """Numbers sent in a forward and in a backward pass."""
    sent: list[int] = []
    begin = ring._Hop.__init__

    def counted(self: Any, tensor: Tensor, group: ContextGroup) -> None:
        sent.append(tensor.numel())
        begin(self, tensor, group)

    ring._Hop.__init__ = counted  # type: ignore[method-assign]
    try:
        q, k, v = (torch.randn(1, 12, h, 4, requires_grad=True) for h in (4, 2, 2))
        out = RingAttention()(segments=None, positions=None)(q, k, v)
        forward = sum(sent)
        out.sum().backward()
    finally:
        ring._Hop.__init__ = begin  # type: ignore[method-assign]
    return [forward, sum(sent) - forward]


def kept(context: ContextGroup, length: int) -> int:
    """Bytes that one pass keeps for the backward pass, in rows of `length` a process."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    q, k, v = (torch.randn(1, length, 4, 8, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        RingAttention()(segments=None, positions=None)(q, k, v)
    return sum(sizes.values())


def training(context: ContextGroup) -> list[float]:
    """The loss of packed examples, and the largest difference of its gradients from those in one process."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    decoder = CausalDecoder(
        dim=16,
        num_layers=2,
        num_heads=2,
        hidden_dim=24,
        rope=Rope(),
        checkpoint=context.layout == "zigzag",  # blocks then go round a third time
        attention=RingAttention(query_chunk=5),
    )
    vocabulary = TwoTables(dim=16, text_size=11, vision_size=7)
    draws = torch.Generator().manual_seed(1)
    examples = []
    for length in (9, 23, 5, 30, 14):
        vision = torch.rand(length, generator=draws) < 0.5
        tokens = torch.randint(7, (length,), generator=draws)
        examples.append(Example(tokens, vision, (torch.rand(length, generator=draws) < 0.8).double()))
    packed = pack(examples, 37, "masked")
    parts = [*decoder.parameters(), *vocabulary.parameters()]

    def loss_of(rows: Any) -> Tensor:
        x = vocabulary.embed(rows.tokens, rows.is_vision)
        hidden = decoder(x, positions=rows.positions, segments=rows.segments)
        sums = vocabulary.losses(hidden, rows.targets, rows.target_is_vision, rows.weights)
        return 0.5 * sum(modality_means(sums, rows.counts).values())

    use_context_group(None)
    whole = loss_of(packed)
    wanted = torch.autograd.grad(whole, parts)
    use_context_group(context)
    loss = loss_of(local_share(packed, context))
    found = torch.autograd.grad(loss, parts)
    together = torch.cat([loss.detach()[None], *(x.flatten() for x in found)]) / dist.get_world_size()
    dist.all_reduce(together)
    exact = torch.cat([whole.detach()[None], *(x.flatten() for x in wanted)])
    torch.set_default_dtype(torch.float32)
    return [float(whole), float((together - exact).abs().max())]


def oracle(context: ContextGroup) -> dict[str, float] | None:
    """Against torch's own ring, which is private, knows no segments, and may be gone: None."""
    try:
        from torch.distributed.tensor.experimental._context_parallel import _attention as theirs
    except ImportError:
        return None
    theirs._cp_options.enable_load_balance = False
    generator = torch.Generator().manual_seed(3)
    *inputs, grad = (torch.randn(1, LENGTH, HEADS, HEAD_DIM, generator=generator) for _ in range(4))
    mine = slots_of("contiguous", LENGTH, context.rank, context.size)
    own = [x[:, mine].requires_grad_() for x in inputs]
    ours = RingAttention()(segments=None, positions=None)(*own)
    found = [ours, *torch.autograd.grad(ours, own, grad[:, mine])]
    q, k, v, g = (x[:, mine].detach().transpose(1, 2).contiguous() for x in (*inputs, grad))
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
    out, lse, *_ = theirs._templated_ring_attention(
        context.group, 2, forward, q, k, v, is_causal=True, dropout_p=0.0
    )
    gradients = theirs._templated_ring_attention_backward(
        context.group, 2, backward, g, "grad_out", q, k, v, out, lse, True, dropout_p=0.0
    )
    return {
        name: float((one - other.transpose(1, 2)).abs().max())
        for name, one, other in zip(("out", "q", "k", "v"), found, (out, *gradients), strict=False)
    }


def left_alone(context: ContextGroup) -> str:
    """What the others of a ring are told when one of its processes is gone."""
    q = torch.zeros(1, 4, HEADS, HEAD_DIM)
    positions = slots_of("contiguous", 4 * context.size, context.rank, context.size)[None]
    begun = time.monotonic()
    try:
        RingAttention()(segments=None, positions=positions)(q, q, q)
    except RuntimeError:
        return "an error" if time.monotonic() - begun < 20 else "an error, late"
    return "nothing"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    found: dict[str, Any] = {}
    for size in range(1, PROCESSES + 1):
        groups = dist.new_group(list(range(size)))
        if rank >= size:
            continue
        for layout in LAYOUTS:
            context = ContextGroup(group=groups, rank=rank, size=size, layout=layout)
            use_context_group(context)
            for case in cases():
                if (case.size, case.layout) == (size, layout):
                    found[str(case)] = errors(case, context)
            if size > 1:
                found[f"work {layout} {size}"] = work(layout, context)
                found[f"traffic {layout} {size}"] = traffic(context)
                found[f"kept {layout} {size}"] = kept(context, 24)
        if size == 2:
            context = ContextGroup(group=groups, rank=rank, size=size, layout="contiguous")
            use_context_group(context)
            found["oracle"] = oracle(context)
    for layout in LAYOUTS:
        context = ContextGroup(group=dist.group.WORLD, rank=rank, size=PROCESSES, layout=layout)
        found[f"training {layout}"] = training(context)
    if rank == PROCESSES - 1:
        (folder / f"{rank}.json").write_text(json.dumps(found))
        os._exit(0)
    context = ContextGroup(group=dist.group.WORLD, rank=rank, size=PROCESSES, layout="contiguous")
    use_context_group(context)
    found["left alone"] = left_alone(context)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)  # a group that has lost a process cannot be destroyed in order


if __name__ == "__main__":
    main(Path(sys.argv[1]))
