"""Ancestral sampling: guidance on raw logits, then temperature, top-k, top-p."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class NextToken:
    """Draw from softmax(logits / temperature) cut to the likeliest ids.

    temperature: 0 takes the likeliest id.  top_k: ids kept.  top_p: the fewest ids that hold this much
    probability are kept, at least one.  guidance: see `guided`.
    Raises ValueError for numbers outside their range.
    Source: LWM's official code, vision_generation.py (order of the steps); top-p of arXiv 1904.09751.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> None:
        if temperature < 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
            raise ValueError(
                f"temperature {temperature:g} must not be negative, top_k {top_k} at least 1, "
                f"top_p {top_p:g} in (0, 1]"
            )
        self.temperature, self.top_k, self.top_p, self.guidance = temperature, top_k, top_p, guidance

    def guided(
        self, conditional: Float[Tensor, "b v"], unconditional: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b v"]:
        """l_u + s (l_c - l_u): s = 1 gives the conditional logits exactly, s = 0 the unconditional ones."""
        return torch.lerp(unconditional, conditional, self.guidance)

    def draw(self, logits: Float[Tensor, "b v"], generator: torch.Generator) -> Int[Tensor, " b"]:
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        probabilities = self.trimmed(logits).softmax(dim=-1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)

    def trimmed(self, logits: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Logits over the temperature in float32, those not kept at -inf."""
        logits = logits.float() / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        if self.top_p < 1:
            ordered, ids = logits.sort(dim=-1, descending=True)
            before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
            drop = torch.zeros_like(before, dtype=torch.bool).scatter(-1, ids, before >= self.top_p)
            logits = logits.masked_fill(drop, float("-inf"))
        return logits
