"""Packing: several examples in one row, with the loss of a padded batch."""

from collections.abc import Callable
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.sequences import Example

PADDING = -1  # segment id of positions that belong to no example

Mode = Literal["masked", "masked_token_mean", "naive", "padded"]


class Packed(NamedTuple):
    """Rows for next-token training: position t reads tokens[t] and is to predict targets[t].

    weights: what the cross-entropy of each position is multiplied with, 0 where nothing is predicted.
    segments: attention stays within equal ids of a row; -1 is padding.
    positions: places in the segment, from 0; 0 in padding.
    counts: what the weighted sums (text, vision) of this batch are divided by, to be added up over ranks.
    """

    tokens: Int[Tensor, "b s"]
    is_vision: Bool[Tensor, "b s"]
    targets: Int[Tensor, "b s"]
    target_is_vision: Bool[Tensor, "b s"]
    weights: Float[Tensor, "b s"]
    segments: Int[Tensor, "b s"]
    positions: Int[Tensor, "b s"]
    counts: Float[Tensor, " 2"]

    @property
    def useful(self) -> float:
        """Share of the positions that belong to an example."""
        return float((self.segments != PADDING).float().mean())


class _Places(NamedTuple):
    """Where the positions of all examples go, example after example in the order of the rows."""

    example: Int[Tensor, " n"]  # number of the example, in that order
    row: Int[Tensor, " n"]
    in_row: Int[Tensor, " n"]  # number of the example within its row
    offset: Int[Tensor, " n"]  # place within the row
    position: Int[Tensor, " n"]  # place within the example


class _Rules(NamedTuple):
    share_rows: bool  # several examples a row
    block: bool  # an example sees itself only
    mean_over: Callable[[_Places], Tensor] | None  # groups of equal weight; None = all tokens alike


_RULES: dict[str, _Rules] = {
    "masked": _Rules(share_rows=True, block=True, mean_over=lambda places: places.example),
    "masked_token_mean": _Rules(share_rows=True, block=True, mean_over=None),
    "naive": _Rules(share_rows=True, block=False, mean_over=lambda places: places.row),
    "padded": _Rules(share_rows=False, block=True, mean_over=lambda places: places.example),
}


def first_fit(sizes: list[int], length: int) -> list[list[int]]:
    """Rows of indices: each item goes to the first row that has room for it.

    Items listed row by row, all rows or any of them, fall into the same rows again: an epoch can be planned
    at once and packed batch by batch. Raises ValueError for an item longer than a row.
    """
    room = np.full(len(sizes), length)
    rows: list[list[int]] = []
    for index, size in enumerate(sizes):
        if size > length:
            raise _too_long(index, size, length)
        row = int(np.argmax(room[: len(rows) + 1] >= size))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        room[row] -= size
    return rows


def _too_long(index: int, size: int, length: int) -> ValueError:
    return ValueError(
        f"example {index} takes {size} positions, a row has {length}; "
        "make rows longer, keep fewer frames (max_n_frames), or cut what is too long (too_long=cut)"
    )


def pack(
    examples: list[Example], length: int, mode: Mode, *, too_long: Literal["refuse", "cut"] = "refuse"
) -> Packed:
    """Examples -> rows of `length` positions; an example of n tokens takes n - 1 of them.

    masked: first-fit rows, an example sees only itself, and weighs as it would in a batch of one example a
        row: w / (sum of the example's w in this modality). Loss and gradients are those of `padded`.
    masked_token_mean: the same rows and mask, every token weighs the same: long examples drown short ones.
    naive: the same rows, but each is one segment, and the mean over rows is taken of each row's mean.
    padded: one example a row.
    An example that is cut is averaged over what is left of it. Weights are in torch's default dtype.
    Raises ValueError for no examples, for one of less than two tokens and, with `refuse`, for a too long one.
    Source: LWM (arXiv 2402.08268), masked packing. The released code makes no segment ids: that is `naive`,
    except that it also cuts examples at row ends and goes on in the next row.
    """
    if not examples:
        raise ValueError("there is nothing to pack; give at least one example")
    rules = _RULES[mode]
    sizes = [len(example.tokens) - 1 for example in examples]
    if min(sizes) < 1:
        raise ValueError(
            f"example {sizes.index(min(sizes))} has less than two tokens; there is nothing to predict in it"
        )
    if max(sizes) > length and too_long == "refuse":
        first = next(i for i, size in enumerate(sizes) if size > length)
        raise _too_long(first, sizes[first], length)
    kept = [min(size, length) for size in sizes]
    rows = first_fit(kept, length) if rules.share_rows else [[i] for i in range(len(examples))]
    places = _places(rows, kept)

    order = torch.tensor(list(chain.from_iterable(rows)))
    starts = torch.tensor([0, *(size + 1 for size in sizes[:-1])]).cumsum(0)  # in all examples joined
    source = starts[order][places.example] + places.position
    tokens, is_vision, loss = (torch.cat(column) for column in zip(*examples, strict=True))
    target_is_vision = is_vision[source + 1]
    weights, counts = _weights(loss[source + 1], target_is_vision, places, rules)

    goal = places.row * length + places.offset

    def laid_out(values: Tensor, empty: int = 0) -> Tensor:
        laid = values.new_full((len(rows) * length,), empty)
        laid[goal] = values
        return laid.view(len(rows), length)

    whole_row = torch.zeros_like(places.in_row)
    return Packed(
        tokens=laid_out(tokens[source]),
        is_vision=laid_out(is_vision[source]),
        targets=laid_out(tokens[source + 1]),
        target_is_vision=laid_out(target_is_vision),
        weights=laid_out(weights),
        segments=laid_out(places.in_row if rules.block else whole_row, PADDING),
        positions=laid_out(places.position if rules.block else places.offset),
        counts=counts,
    )


def _places(rows: list[list[int]], sizes: list[int]) -> _Places:
    size = torch.tensor([sizes[index] for index in chain.from_iterable(rows)])
    per_row = torch.tensor([len(row) for row in rows])
    before = size.cumsum(0) - size  # positions in all examples before this one
    first = per_row.cumsum(0) - per_row  # the example that begins each row
    row = torch.arange(len(rows)).repeat_interleave(per_row)
    in_row = torch.arange(len(size)) - first[row]
    start = before - before[first][row]
    example = torch.arange(len(size)).repeat_interleave(size)
    position = torch.arange(len(example)) - before[example]
    return _Places(example, row[example], in_row[example], start[example] + position, position)


def _weights(
    loss: Float[Tensor, " n"], is_vision: Bool[Tensor, " n"], places: _Places, rules: _Rules
) -> tuple[Float[Tensor, " n"], Float[Tensor, " 2"]]:
    """Weights of all positions, and what their sums are divided by."""
    default = torch.get_default_dtype()
    exact = loss.double()
    if rules.mean_over is None:
        totals = torch.bincount(is_vision.long(), weights=exact, minlength=2)
        return loss.to(default), totals.to(default)
    groups = rules.mean_over(places)
    modality = 2 * groups + is_vision
    totals = torch.bincount(modality, weights=exact).clamp(min=1e-10)
    return (exact / totals[modality]).to(default), (groups.max() + 1).to(default).expand(2).clone()


def global_count(count: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Sum over all ranks; where there is one process, the count itself."""
    if not (dist.is_available() and dist.is_initialized()):
        return count
    total = count.clone()
    dist.all_reduce(total)
    return total


def modality_means(
    sums: dict[str, Float[Tensor, ""]], counts: Float[Tensor, " 2"]
) -> dict[str, Float[Tensor, ""]]:
    """Sums of Vocabulary.losses -> L_text and L_vision of the global batch; L = 0.5 (L_text + L_vision).

    A rank's value is the number of ranks times its share of the global loss: DDP and FSDP average gradients
    over ranks, and a logger averages values over ranks, so both come out as those of the global batch. Every
    rank must call it. With gradient accumulation each pass is a batch of its own.
    Source: LWM (arXiv 2402.08268), masked packing: L_m = (1/S) sum over segments of the segment's mean.
    """
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    a_rank = (global_count(counts) / ranks).clamp(min=1e-10)
    return {"text": sums["text"] / a_rank[0], "vision": sums["vision"] / a_rank[1]}
