"""Attention tile by tile: `python benchmarks/blockwise.py [threads=1] [repeats=5] [lengths=4096] [PART ...]`.

tiles  forward and backward against torch's scaled_dot_product_attention
long   a training step of a small decoder on one row, 4 K to 64 K tokens: time and peak memory
In one process each; tables in markdown.
"""

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import in_turns, resident, run_parts
from benchmarks.ring import CHUNK, draw, lengths, row, start, table, there_and_back
from components.attention.causal import attend_densely
from components.attention.ring import BlockwiseAttention
from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.vocabularies.one_table import OneTable


def tiles(repeats: int) -> None:
    print("\nforward and backward, one process, seconds: by the clock (least to most), of CPU.")
    table("tokens", "attention", "clock", "CPU", "of torch's, clock", "of torch's, CPU")
    for length in lengths("2048,4096,8192"):
        inputs = draw(1, length)
        theirs, ours = in_turns(
            repeats,
            partial(there_and_back, attend_densely, *inputs),
            partial(tile_by_tile, *inputs),
        )
        usual = [statistics.median(x) for x in theirs]
        for name, (clock, cpu) in (("torch's", theirs), ("blockwise", ours)):
            taken = [statistics.median(clock), statistics.median(cpu)]
            ratios = (f"{a / b:.2f}" for a, b in zip(taken, usual, strict=True))
            row(length, name, f"{taken[0]:.3f} ({min(clock):.3f} to {max(clock):.3f})", taken[1], *ratios)


def tile_by_tile(*inputs: Tensor) -> None:
    blockwise = BlockwiseAttention(query_chunk=CHUNK, key_chunk=CHUNK)
    there_and_back(blockwise(segments=None, positions=None), *inputs)


def long(repeats: int) -> None:
    print(
        "\na decoder of 2 layers and width 128, 2 heads, recomputed in the backward pass; one row, float32."
    )
    table(
        "tokens",
        "loss",
        "seconds",
        "peak of the process, MiB",
        "above what it had before, MiB",
        "KiB a token",
    )
    for length in lengths("4096,8192,16384,32768,65536"):
        (told,) = start(__file__, 1, length)
        above = told["peak"] - told["before"]
        row(length, told["loss"], told["seconds"], round(told["peak"]), round(above), 1024 * above / length)


def step(length: int) -> dict:
    torch.manual_seed(0)
    attention = BlockwiseAttention()
    decoder = CausalDecoder(
        dim=128, num_layers=2, num_heads=2, hidden_dim=344, rope=Rope(theta=1e6), checkpoint=True,
        feed_forward_chunk=1024, attention=attention,
    )  # fmt: skip
    vocabulary = OneTable(dim=128, text_size=259, vision_size=8448, chunk=1024)
    tokens = torch.randint(259, (1, length + 1))

    def train(length: int) -> Tensor:
        text = torch.zeros(1, length, dtype=torch.bool)
        hidden = decoder(vocabulary.embed(tokens[:, :length], text))
        weights = torch.full((1, length), 1 / length)
        loss = vocabulary.losses(hidden, tokens[:, 1 : length + 1], text, weights)["text"]
        loss.backward()
        return loss.detach()

    train(64)  # what the first use takes is not the row's
    before, began = resident("VmRSS"), time.perf_counter()
    loss = train(length)
    return {
        "loss": float(loss),
        "seconds": time.perf_counter() - began,
        "before": before,
        "peak": resident("VmHWM"),
    }


def child(length: str) -> None:
    print(json.dumps(step(int(length))))


if __name__ == "__main__":
    run_parts(__file__, {"tiles": tiles, "long": long}, sys.argv[1:], child)
