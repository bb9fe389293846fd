"""Which processes share the same rows of tokens, and who of them holds which tokens."""

from dataclasses import dataclass
from typing import Any, Literal

import torch.distributed as dist

Layout = Literal["contiguous", "zigzag", "striped"]
"""Of a row cut for W processes, process r holds

contiguous: piece r of W. Under a causal mask the last one has nearly all of the work.
zigzag: pieces r and 2 W - 1 - r of 2 W. All have as much work, in tiles that are full or empty but for two.
striped: tokens r, r + W, r + 2 W, ... All have nearly as much work, in tiles under a mask.
Source: contiguous, Ring Attention (arXiv 2310.01889); striped, Striped Attention (arXiv 2311.09431).
"""


@dataclass(frozen=True)
class ContextGroup:
    """The processes that share rows with this one. rank: its place among them. group: None for one alone."""

    group: dist.ProcessGroup | None = None
    rank: int = 0
    size: int = 1
    layout: Layout = "zigzag"


ALONE = ContextGroup()
_in_use = ALONE


def context_group() -> ContextGroup:
    """The group of this process, as torch.distributed has its default group: one a process."""
    return _in_use


def use_context_group(group: ContextGroup | None) -> None:
    """Share rows from now on; None: each row lies in one process again."""
    global _in_use
    _in_use = group or ALONE


def data_place(trainer: Any) -> tuple[int, int]:
    """Rank and number among the processes of a Lightning trainer that see different clips; None: one alone.

    Processes that share rows see the same ones, and so do tensor-parallel ones.
    """
    place = None if trainer is None else trainer.distributed_sampler_kwargs
    return (place["rank"], place["num_replicas"]) if place else (0, 1)
