"""Vector quantisation with a learned codebook."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.quantizers import Quantized
from components.quantizers.nearest import nearest
from components.quantizers.pieces import full_precision, has_values, rows, straight_through
from components.quantizers.ranks import JoinedFeatures, sum_over_ranks
from components.randomness import mix

SMOOTHING = 1e-5  # added to every code's usage, so that none divides by zero


class VectorQuantizer(nn.Module):
    """The nearest of K codes by Euclidean distance; features (..., dim).

    update: "ema" makes a code the running mean of the features that chose it; "gradient" adds
    mean |sg(z) - e|^2 to the loss.
    decay: of the running means, a step.
    commitment_weight: of mean |z - sg(e)|^2.
    restart_below: a code used less than this share of an even use is put on a feature drawn from the batch,
    at every step until it is chosen often enough; 0 = never.
    Source: VQ-VAE (arXiv 1711.00937), eq. (3) and appendix A.1; restarts as in Jukebox (arXiv 2005.00341),
    section 3.1.
    """

    codebook: Tensor
    usage: Tensor
    sums: Tensor
    updates: Tensor

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int,
        update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.99,
        commitment_weight: float = 0.25,
        restart_below: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.dim = dim
        self.update = update
        self.decay = decay
        self.commitment_weight = commitment_weight
        self.restart_below = restart_below
        self.seed = seed
        codebook = nn.init.uniform_(torch.empty(codebook_size, dim), -1 / codebook_size, 1 / codebook_size)
        if update == "ema":
            self.register_buffer("codebook", codebook)
            self.register_buffer("sums", codebook.clone())  # running sum of the features of a code, a step
        else:
            self.codebook = nn.Parameter(codebook)
        self.register_buffer(
            "usage", torch.ones(codebook_size)
        )  # running number of features of a code, a step
        self.register_buffer("updates", torch.tensor(0))

    def forward(self, latents: Float[Tensor, "*n d"]) -> Quantized:
        with full_precision(latents):
            z = rows(latents)
            codebook = self.codebook.to(z.dtype)
            indices = nearest(z.detach(), codebook.detach(), distance="euclidean")
            codes = F.embedding(indices, codebook)
            loss = self.commitment_weight * F.mse_loss(z, codes.detach())
            if self.update == "gradient":
                loss = loss + F.mse_loss(codes, z.detach())
            if self.training and has_values(z):
                self._learn(z.detach(), indices)
            quantized = straight_through(z, codes).to(latents.dtype)
        return Quantized(quantized.view_as(latents), indices.view(latents.shape[:-1]), loss)

    def lookup(self, indices: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        return F.embedding(indices, self.codebook)

    @torch.no_grad()
    def _learn(self, z: Float[Tensor, "n d"], indices: Int[Tensor, " n"]) -> None:
        ones = torch.ones(len(z), 1, dtype=z.dtype, device=z.device)
        found = torch.zeros(self.codebook_size, self.dim + 1, dtype=z.dtype, device=z.device)
        found = sum_over_ranks(found.index_add_(0, indices, torch.cat([ones, z], dim=1))).to(self.usage.dtype)
        self.usage.lerp_(found[:, 0], 1 - self.decay)
        if self.update == "ema":
            self.sums.lerp_(found[:, 1:], 1 - self.decay)
            total = self.usage.sum()
            share = (self.usage + SMOOTHING) / (total + self.codebook_size * SMOOTHING)
            self.codebook.copy_(self.sums / (share * total)[:, None])
        if self.restart_below > 0:
            self._restart(z)
        self.updates += 1

    def _restart(self, z: Float[Tensor, "n d"]) -> None:
        threshold = self.restart_below * self.usage.mean()
        unused = (self.usage < threshold).nonzero().squeeze(1)  # equal on all ranks, as usage is
        if len(unused) == 0:
            return
        features = JoinedFeatures(z)
        generator = torch.Generator().manual_seed(mix(self.seed, int(self.updates)))
        places = torch.randperm(features.total, generator=generator)[: len(unused)].to(z.device)
        unused = unused[: len(places)]  # no feature serves twice; the rest waits for the next step
        restarted = features.rows(places).to(self.codebook.dtype)
        self.codebook[unused] = restarted
        self.usage[unused] = threshold
        if self.update == "ema":
            self.sums[unused] = restarted * threshold
