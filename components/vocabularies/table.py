"""A table of token vectors with its head."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from components.objectives.linear_cross_entropy import linear_cross_entropy


class Table(nn.Module):
    """`tokens` in, `head` out, not tied: (size, dim) each, first weights normal of std 0.02, no biases."""

    def __init__(self, *, size: int, dim: int, chunk: int | None) -> None:
        super().__init__()
        self.chunk = chunk
        self.tokens = nn.Embedding(size, dim)
        self.head = nn.Linear(dim, size, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    def loss(
        self,
        hidden: Float[Tensor, "b s d"],
        targets: Int[Tensor, "b s"],
        weights: Float[Tensor, "b s"],
        chosen: Bool[Tensor, "b s"],
    ) -> Float[Tensor, ""]:
        """Sum of weight times cross-entropy over the chosen positions; those of weight 0 cost nothing."""
        counted = chosen & (weights != 0)
        exact = weights.to(torch.promote_types(hidden.dtype, torch.float32))
        return linear_cross_entropy(
            hidden[counted], self.head.weight, targets[counted], exact[counted], self.chunk
        )
