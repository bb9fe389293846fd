"""How much of a codebook is in use."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric


class CodeUsage(Metric):
    """Share of the codes that were seen, and perplexity: exp of the entropy of how often each was.

    A perplexity of k is that of k codes used evenly; at best it is the codebook's size. Before the first
    update it is not a number.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, *, codebook_size: int) -> None:
        super().__init__()
        # integers: a float32 count stops at 16.8 million
        self.add_state("counts", default=torch.zeros(codebook_size, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, indices: Int[Tensor, "*n"]) -> None:
        """Add the codes of a batch."""
        seen = indices.reshape(-1)
        self.counts.index_add_(0, seen, torch.ones_like(seen, dtype=torch.long))

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """`usage` in [0, 1] and `perplexity`."""
        shares = self.counts / self.counts.sum()
        return {
            "usage": (self.counts > 0).float().mean(),
            "perplexity": torch.special.entr(shares).sum().exp(),
        }
