"""Ring attention: `python benchmarks/ring.py [threads=1] [repeats=5] [lengths=4096,8192] [PART ...]`.

exact    largest differences from dense attention in double, over 1 to 4 processes that share the rows
memory   what a process of 1, 2 and 4 keeps and takes at most, beside what it must
time     two processes of one thread, in each layout, against one that does all of the work

Tables in markdown. Processes on this machine, over gloo; medians of the repeats, forward and backward.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import resident, run_parts
from components.attention import Attend
from components.attention.causal import attend_by_mask, segment_mask
from components.attention.ring import BlockwiseAttention, RingAttention, _plan
from components.context_parallel import ALONE, ContextGroup, Layout, use_context_group
from components.sequences.context_shards import slots_of
from tests.processes import free_port

HEADS, KEY_HEADS, HEAD_DIM, CHUNK = 4, 2, 64, 512
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
BITS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
MIB = 2**20


def lengths(default: str) -> list[int]:
    """What `lengths=` says on the command line."""
    told = [word.removeprefix("lengths=") for word in sys.argv if word.startswith("lengths=")]
    return [int(length) for length in (told or [default])[0].split(",")]


def table(*columns: str) -> None:
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def start(script: str, processes: int, *words: object) -> list[dict]:
    """What each of so many children of a script says, in JSON on its last line."""
    place = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    place["OMP_NUM_THREADS"] = 1
    place["MALLOC_MMAP_THRESHOLD_"] = 65536  # what is freed goes back to the system, and is seen to
    command = [sys.executable, script, "child", *map(str, words), f"threads={torch.get_num_threads()}"]
    begun = [
        subprocess.Popen(
            command,
            env=os.environ | {key: str(value) for key, value in (place | {"RANK": rank}).items()},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    said = [process.communicate()[0] for process in begun]
    if any(process.returncode for process in begun):
        sys.exit(f"{' '.join(command[1:])}: a process has failed")
    return [json.loads(text.splitlines()[-1]) for text in said]


def child(job: str, *words: str) -> None:
    dist.init_process_group("gloo")
    print(json.dumps(CHILDREN[job](*map(int, words))))
    dist.destroy_process_group()


def share(layout: Layout, group: dist.ProcessGroup | None = None) -> ContextGroup:
    """Share rows with all processes, or those of the group, from now on."""
    context = ContextGroup(
        group or dist.group.WORLD, dist.get_rank(group), dist.get_world_size(group), layout
    )
    use_context_group(context)
    return context


def draw(rows: int, length: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """q, k, v and a gradient of the output."""
    rng = torch.Generator().manual_seed(0)
    heads = (HEADS, KEY_HEADS, KEY_HEADS, HEADS)
    return [
        torch.randn(rows, length, h, HEAD_DIM, generator=rng, dtype=torch.float64).to(dtype) for h in heads
    ]


def there_and_back(attend: Attend, q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    out = attend(q, k, v)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), grad)]


def exact(repeats: int) -> None:
    for length in lengths("1024"):
        print(f"\n{length} tokens a row: segments and padding; {HEADS} heads, {KEY_HEADS} of keys.")
        table("processes", "layout", "precision", "output", "dq", "dk", "dv")
        for cells in start(__file__, 4, "errors", length)[0]["rows"]:
            row(*cells)


def errors(length: int) -> dict:
    segments, positions = torch.full((2, length), -1), torch.zeros(2, length, dtype=torch.long)
    for i, cuts in enumerate(((0, 0.3, 0.31, 0.8, 0.95), (0, 0.7, 1))):
        for number, (first, last) in enumerate(itertools.pairwise(int(cut * length) for cut in cuts)):
            segments[i, first:last] = number
            positions[i, first:last] = torch.arange(last - first)
    dense, rows = attend_by_mask(segment_mask(segments)), []
    groups = [dist.new_group(list(range(size))) for size in range(1, 5)]
    for name, dtype in BITS.items():
        inputs = draw(2, length, dtype)
        wanted = there_and_back(dense, *(x.double() for x in inputs))
        theirs = there_and_back(dense, *inputs)
        off = [float((a.double() - b).abs().max()) for a, b in zip(theirs, wanted, strict=True)]
        rows.append([1, "torch's dense kernel", name, *off])
        for size, layout in itertools.product(range(1, 5), LAYOUTS):
            if dist.get_rank() >= size or length % (2 * size):
                continue
            context = share(layout, groups[size - 1])
            attention = RingAttention(
                alone=BlockwiseAttention(query_chunk=100, key_chunk=60), query_chunk=100, key_chunk=60
            )
            mine = slots_of(layout, length, context.rank, size)
            attend = attention(segments=segments[:, mine], positions=positions[:, mine])
            found = there_and_back(attend, *(x[:, mine] for x in inputs))
            off = [(a.double() - b[:, mine]).abs().max() for a, b in zip(found, wanted, strict=True)]
            worst = torch.stack(off)
            dist.all_reduce(worst, dist.ReduceOp.MAX, group=context.group)
            rows.append([size, layout, name, *worst.tolist()])
    return {"rows": rows}


def memory(repeats: int) -> None:
    print(f"\nOf a process, in MiB, float32; {HEADS} heads of {HEAD_DIM}, {KEY_HEADS} of keys, zigzag.")
    print("kept: for the backward pass. most: with q, k, v and the output's gradient, above the imports.")
    table("processes", "tokens a row", "a process", "kept", "must be", "most", "must be")
    for size in (1, 2, 4):
        each = lengths("4096,8192")
        told = start(__file__, size, "room", *(size * length for length in each))
        for i, length in enumerate(each):
            kept, most = (max(process[what][i] for process in told) for what in ("kept", "most"))
            q, k = 4 * length * HEADS * HEAD_DIM, 4 * length * KEY_HEADS * HEAD_DIM  # bytes, as k and v
            needed = 2 * q + 2 * k + 4 * length * HEADS
            # the gradients of q and of the output; keys and values, here and coming; their gradients: what
            # is found, what is coming, and what was sent
            passing = 2 * q + (2 * k if size == 1 else 4 * k) + (2 * k if size == 1 else 6 * k)
            row(size, size * length, length, kept, needed / MIB, most, (needed + passing) / MIB)


def room(*of_rows: int) -> dict:
    context = share("zigzag")
    ring = RingAttention(
        alone=BlockwiseAttention(query_chunk=CHUNK, key_chunk=CHUNK), query_chunk=CHUNK, key_chunk=CHUNK
    )
    found: dict[str, list[float]] = {"kept": [], "most": []}
    there_and_back(ring(segments=None, positions=None), *draw(1, 64))
    for length in of_rows:  # longer and longer: each is the peak so far
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        before = resident("VmRSS")
        heads = (HEADS, KEY_HEADS, KEY_HEADS, HEADS)
        inputs = [torch.ones(1, length // context.size, h, HEAD_DIM) for h in heads]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            there_and_back(ring(segments=None, positions=None), *inputs)
        found["kept"].append(sum(sizes.values()) / MIB)
        found["most"].append(resident("VmHWM") - before)
        del inputs
    return found


def speed(repeats: int) -> None:
    print(
        "\nseconds by the clock of the slower process, and of CPU in all processes. overhead: two processes'"
    )
    print(
        "time, twice, above that of one that does the same work alone. tiles: worked on, of the busier one."
    )
    table("tokens", "attention", "processes", "clock", "CPU", "overhead, clock", "overhead, CPU", "tiles")
    for length in lengths("8192"):
        first, second = start(__file__, 2, "turns", length, repeats)
        alone, alone_cpu = (statistics.median(first["alone"][what]) for what in ("clock", "cpu"))
        row(length, "blockwise", 1, alone, alone_cpu, "", "", first["alone"]["work"])
        for layout in LAYOUTS:
            ours = [process[layout] for process in (first, second)]
            clock, cpu = (
                statistics.median(reduce(x) for x in zip(*(one[what] for one in ours), strict=True))
                for what, reduce in (("clock", max), ("cpu", sum))
            )
            busier = max(one["work"] for one in ours)
            over, over_cpu = 2 * clock / alone - 1, cpu / alone_cpu - 1
            row(length, f"ring, {layout}", 2, clock, cpu, f"{over:+.1%}", f"{over_cpu:+.1%}", busier)


def turns(length: int, repeats: int) -> dict:
    """Ring in each layout on both processes, and blockwise on the first while the second sleeps."""
    inputs = draw(1, length)
    found: dict[str, dict] = {name: {"clock": [], "cpu": [], "work": 0} for name in ("alone", *LAYOUTS)}
    for measured, layout in itertools.product(range(-1, repeats), (None, *LAYOUTS)):
        context = share(layout or "zigzag")
        mine = slots_of(context.layout, length, context.rank, context.size)
        sizes = {"query_chunk": CHUNK, "key_chunk": CHUNK}
        attention: BlockwiseAttention | RingAttention = RingAttention(**sizes)
        if layout is None:
            attention, mine = BlockwiseAttention(**sizes), torch.arange(length)
        own = [x[:, mine].contiguous() for x in inputs]
        place = ALONE if layout is None else context
        plan = _plan(place, None, None, (CHUNK, CHUNK), own[0])
        found[layout or "alone"]["work"] = sum(map(len, plan.tiles))
        dist.barrier()
        if layout or context.rank == 0:
            began, began_cpu = time.perf_counter(), time.process_time()
            attend = attention(segments=None, positions=None)
            there_and_back(attend, *own)
            of = found[layout or "alone"]
            if measured >= 0:
                of["clock"].append(time.perf_counter() - began)
                of["cpu"].append(time.process_time() - began_cpu)
        dist.barrier()
    return found


CHILDREN: dict[str, Callable[..., dict]] = {"errors": errors, "room": room, "turns": turns}

if __name__ == "__main__":
    parts = {"exact": exact, "memory": memory, "time": speed}
    run_parts(__file__, parts, sys.argv[1:], child)
