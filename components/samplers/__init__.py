"""Samplers draw what comes next from a model's logits.

| name | keeps | changes |
|---|---|---|
| next_token | top_k likeliest ids, of them the fewest that hold top_p | temperature, guidance |
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class TokenSampler(Protocol):
    """Draw one id a row. guidance: how far to go from unconditional to conditional logits, 1 = those."""

    guidance: float

    def guided(
        self, conditional: Float[Tensor, "b v"], unconditional: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b v"]: ...

    def draw(self, logits: Float[Tensor, "b v"], generator: torch.Generator) -> Int[Tensor, " b"]: ...
