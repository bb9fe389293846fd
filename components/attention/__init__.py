"""Attention: what a token of a row sees, and how its position is told.

| name | a token sees | memory | paper |
|---|---|---|---|
| causal_attention | itself and what came before it in its segment | O(s) | LLaMA; masked packing of LWM |
| ring | the same, over rows that W processes share | O(s / W) | Ring Attention, LWM |
| blockwise | the same, tile by tile in one process | O(s) | Blockwise Transformer |

An attention is planned once a forward pass (masks, cuts) and the plan applied in every layer. It reads
nothing but q, k, v, the segments and the positions, so that a ring over processes can take its place.

| rotary layout | a pair | used by |
|---|---|---|
| half-split | features i and i + d/2 | transformers |
| interleaved | features 2i and 2i + 1 | Meta's weights, LWM's JAX weights |
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q "b s h d", k and v "b s g d" -> "b s h d"; query head i reads key head i // (h / g)."""


@runtime_checkable
class Attention(Protocol):
    """Plan the attention of rows of tokens; None is one segment a row, in the order of its slots."""

    def __call__(
        self, *, segments: Int[Tensor, "b s"] | None, positions: Int[Tensor, "b s"] | None
    ) -> Attend: ...
