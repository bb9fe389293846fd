"""A table of token vectors with its head."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from components.objectives.linear_cross_entropy import linear_cross_entropy

ALL = slice(None)


class Table(nn.Module):
    """`tokens` in, `head` out, not tied: (size, dim) each, first weights normal of std 0.02, no biases."""

    def __init__(self, *, size: int, dim: int, chunk: int | None = None) -> None:
        super().__init__()
        self.chunk = chunk
        self.tokens = nn.Embedding(size, dim)
        self.head = nn.Linear(dim, size, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)

    def embed(self, tokens: Int[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
        return self.tokens(tokens)

    def logits(self, hidden: Float[Tensor, "*b d"], ids: slice = ALL) -> Float[Tensor, "*b v"]:
        """Of the ids of one range."""
        return F.linear(hidden, self.head.weight[ids])

    def loss(
        self,
        hidden: Float[Tensor, "b s d"],
        targets: Int[Tensor, "b s"],
        weights: Float[Tensor, "b s"],
        chosen: Bool[Tensor, "b s"],
        ids: slice = ALL,
    ) -> Float[Tensor, ""]:
        """Sum of weight times cross-entropy over the chosen positions; those of weight 0 cost nothing.

        ids: the range that the softmax is over, which holds all chosen targets.
        """
        counted = chosen & (weights != 0)
        exact = weights.to(torch.promote_types(hidden.dtype, torch.float32))
        among = targets[counted] - (ids.start or 0)
        return linear_cross_entropy(hidden[counted], self.head.weight[ids], among, exact[counted], self.chunk)
