"""Lookup-free quantisation: a code is the signs of its numbers."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.quantizers import Quantized
from components.quantizers.pieces import full_precision, project, rows, straight_through
from components.quantizers.ranks import num_ranks, sum_over_ranks

SMALLEST = 1e-20  # below it the slope of p log p is held, since at 0 it has none


class LookupFreeQuantizer(nn.Module):
    """The signs, -1 or 1, of log2(codebook_size) numbers; features (..., dim).

    index = sum_i b_i 2^i with b_i = 1 where number i is positive: the first number is the LOWEST bit, as in
    Open-MAGVIT2 and as fsq counts; vector-quantize-pytorch has it highest. Linear projections in and out
    where dim is not the number of bits.
    loss = entropy_weight (E[H(q(c|z))] - diversity_weight H(E[q(c|z)])) + commitment_weight mean |z - c|^2,
    with q the softmax of -|z - c|^2 / temperature over all codes and E the mean over the batch: sure of each
    code, and all codes in use. The second entropy is that of all ranks' batch.
    Raises ValueError for a codebook size that is no power of two.
    Source: MAGVIT-v2 (arXiv 2310.05737), section 3.1; weights as in Open-MAGVIT2.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        commitment_weight: float = 0.25,
        temperature: float = 0.01,
    ) -> None:
        super().__init__()
        bits = codebook_size.bit_length() - 1
        if codebook_size < 2 or codebook_size != 2**bits:
            raise ValueError(f"codebook_size of lfq is a power of two, got {codebook_size}")
        self.codebook_size = codebook_size
        self.dim = dim
        self.bits = bits
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.commitment_weight = commitment_weight
        self.temperature = temperature
        self.project_in = nn.Linear(dim, bits) if dim != bits else nn.Identity()
        self.project_out = nn.Linear(bits, dim) if dim != bits else nn.Identity()

    def forward(self, latents: Float[Tensor, "*n d"]) -> Quantized:
        with full_precision(latents):
            z = project(self.project_in, rows(latents))
            positive = z > 0
            codes = positive.to(z.dtype) * 2 - 1
            indices = (positive.long() << torch.arange(self.bits, device=z.device)).sum(dim=-1)
            sure, spread = self._entropies(z)
            entropy = sure - self.diversity_weight * spread
            loss = self.entropy_weight * entropy + self.commitment_weight * F.mse_loss(z, codes)
            quantized = project(self.project_out, straight_through(z, codes)).to(latents.dtype)
        return Quantized(quantized.view_as(latents), indices.view(latents.shape[:-1]), loss)

    def lookup(self, indices: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        codes = _binary(indices, self.bits) * 2 - 1
        with full_precision(indices):
            return project(self.project_out, codes)

    def _entropies(self, z: Float[Tensor, "n bits"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mean entropy of one feature's codes, and the entropy of the mean over features, in nats.

        The bits of a code are independent given its feature, with log-odds 4 z / temperature. So the first is
        a sum over bits, and the mean probability of a code a product of two matrices, one over each half of
        the bits: n sqrt(K) numbers in memory where a softmax over codes needs n K.
        """
        odds = 4 / self.temperature * z
        certainty = odds.abs()
        sure = (F.softplus(-certainty) + certainty * torch.sigmoid(-certainty)).sum(dim=-1).mean()
        low, high = odds.tensor_split([self.bits // 2], dim=-1)
        mean = _probabilities(low).T @ _probabilities(high) / len(z)
        # value of all ranks, gradient of this one: averaging gradients over ranks makes it the joined batch's
        mean = mean + (sum_over_ranks(mean.detach()) / num_ranks() - mean.detach())
        return sure, -(mean * mean.clamp_min(SMALLEST).log()).sum()


def _binary(numbers: Int[Tensor, "*n"], bits: int) -> Float[Tensor, "*n bits"]:
    """Digits, lowest first."""
    return (numbers[..., None] >> torch.arange(bits, device=numbers.device) & 1).float()


def _probabilities(odds: Float[Tensor, "n bits"]) -> Float[Tensor, "n codes"]:
    """Of every code of independent bits with these log-odds."""
    bits = odds.shape[1]
    digits = _binary(torch.arange(2**bits, device=odds.device), bits).to(odds.dtype)
    return (F.logsigmoid(-odds).sum(dim=1, keepdim=True) + odds @ digits.T).exp()
