"""LWM's vocabulary: text and vision apart."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from components.vocabularies.table import Table


class TwoTables(nn.Module):
    """Text and vision each have their own table and head; is_vision chooses.

    x_t = (1 - m_t) text[id_t] + m_t vision[id_t]. A batch without one of the kinds gives the tables of that
    kind gradients of exactly zero, not none, so that ranks with different batches stay together.
    text_size, vision_size: ids of each kind. chunk: positions whose logits are in memory at once.
    Source: LWM (arXiv 2402.08268), official code, lwm/vision_llama.py (wte, vte, lm_head, vision_head); there
    both heads run on every position in training, which changes nothing but the cost.
    """

    def __init__(self, *, dim: int, text_size: int, vision_size: int, chunk: int | None = None) -> None:
        super().__init__()
        self.dim = dim
        self.text = Table(size=text_size, dim=dim, chunk=chunk)
        self.vision = Table(size=vision_size, dim=dim, chunk=chunk)

    def embed(self, tokens: Int[Tensor, "b s"], is_vision: Bool[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
        text = self.text.tokens(tokens.masked_fill(is_vision, 0))
        vision = self.vision.tokens(tokens.masked_fill(~is_vision, 0))
        return torch.where(is_vision.unsqueeze(-1), vision, text)

    def losses(
        self,
        hidden: Float[Tensor, "b s d"],
        targets: Int[Tensor, "b s"],
        target_is_vision: Bool[Tensor, "b s"],
        weights: Float[Tensor, "b s"],
    ) -> dict[str, Float[Tensor, ""]]:
        return {
            "text": self.text.loss(hidden, targets, weights, ~target_is_vision),
            "vision": self.vision.loss(hidden, targets, weights, target_is_vision),
        }

    def logits(self, hidden: Float[Tensor, "... d"], *, vision: bool) -> Float[Tensor, "... v"]:
        return self.vision.head(hidden) if vision else self.text.head(hidden)
