"""Clustering vector quantisation (CVQ): codes that are not used follow the features."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from components.quantizers import Quantized
from components.quantizers.anchors import closest, probable
from components.quantizers.nearest import Distance, chunks, nearest, similarity
from components.quantizers.pieces import full_precision, has_values, rows, straight_through
from components.quantizers.ranks import JoinedFeatures, sum_over_ranks
from components.randomness import mix

CONTRAST_TEMPERATURE = 0.07


class ClusteringVQ(nn.Module):
    """The nearest of K codes, where a code that is not used moves to a feature; features (..., dim).

    Usage p_k is the running share of the features that chose code k. At every training step
    alpha_k = exp(-10 K p_k / (1 - decay) - 1e-3) and e_k becomes (1 - alpha_k) e_k + alpha_k anchor_k: all of
    the way for a code never used, none for one used a tenth of an even share. Those move by gradient.
    anchors: "closest" takes the feature nearest to the code, "probrandom" draws one by its similarity to the
    code, "random" takes any from a pool of K past features.
    commitment_weight: of mean |z - sg(e)|^2, beside mean |sg(z) - e|^2.
    contrastive_weight: of a term that draws a code to its nearest features and off its farthest, among the
    features of its own rank; 0 = none.
    Source: CVQ-VAE (arXiv 2307.15139); constants and the order of steps of its official code, which updates
    each rank by itself.
    """

    usage: Tensor
    updates: Tensor
    pool: Tensor
    pooled: Tensor

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int,
        distance: Distance = "cosine",
        anchors: Literal["closest", "random", "probrandom"] = "probrandom",
        decay: float = 0.99,
        commitment_weight: float = 0.25,
        contrastive_weight: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.dim = dim
        self.distance: Distance = distance
        self.anchors = anchors
        self.decay = decay
        self.commitment_weight = commitment_weight
        self.contrastive_weight = contrastive_weight
        self.seed = seed
        bound = 1 / codebook_size
        self.codebook = nn.Parameter(nn.init.uniform_(torch.empty(codebook_size, dim), -bound, bound))
        self.register_buffer("usage", torch.zeros(codebook_size))
        self.register_buffer("updates", torch.tensor(0))
        if anchors == "random":
            self.register_buffer("pool", nn.init.uniform_(torch.empty(codebook_size, dim), -bound, bound))
            self.register_buffer("pooled", torch.tensor(0))  # features the pool holds

    def forward(self, latents: Float[Tensor, "*n d"]) -> Quantized:
        with full_precision(latents):
            z = rows(latents)
            codebook = self.codebook.to(z.dtype, copy=True)  # backward needs the codes as they were chosen
            indices = nearest(z.detach(), codebook.detach(), distance=self.distance)
            codes = F.embedding(indices, codebook)
            loss = self.commitment_weight * F.mse_loss(z, codes.detach()) + F.mse_loss(codes, z.detach())
            if self.training and self.contrastive_weight > 0:
                loss = loss + self.contrastive_weight * self._contrast(z.detach(), codebook)
            if self.training and has_values(z):
                self._follow(z.detach(), indices)
            quantized = straight_through(z, codes).to(latents.dtype)
        return Quantized(quantized.view_as(latents), indices.view(latents.shape[:-1]), loss)

    def lookup(self, indices: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        return F.embedding(indices, self.codebook)

    def _contrast(self, z: Float[Tensor, "n d"], codebook: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
        """Cross-entropy of a code's top n / K similarities, as one, against its lowest half."""

        def cross_entropies(codes: Tensor) -> Tensor:
            ordered = similarity(codes, z, distance=self.distance).sort(dim=1).values / CONTRAST_TEMPERATURE
            near = ordered[:, -max(1, len(z) // self.codebook_size) :].mean(dim=1, keepdim=True)
            return torch.cat([near, ordered[:, : len(z) // 2]], dim=1).logsumexp(dim=1) - near[:, 0]

        parts = [checkpoint(cross_entropies, part, use_reentrant=False) for part in chunks(codebook, z)]
        return torch.cat(parts).mean()

    @torch.no_grad()
    def _follow(self, z: Float[Tensor, "n d"], indices: Int[Tensor, " n"]) -> None:
        counts = torch.zeros(self.codebook_size, dtype=z.dtype, device=z.device)
        counts = sum_over_ranks(counts.index_add_(0, indices, torch.ones_like(z[:, 0])))
        self.usage.lerp_((counts / counts.sum()).to(self.usage.dtype), 1 - self.decay)
        alpha = torch.exp(-10 * self.codebook_size * self.usage / (1 - self.decay) - 1e-3)
        generator = torch.Generator().manual_seed(mix(self.seed, int(self.updates)))
        self.updates += 1
        features = JoinedFeatures(z)
        if self.anchors == "random":
            self._refill(features, generator)
        # alpha underflows to an exact 0 for codes in steady use; alpha is equal on all ranks, as usage is
        moved = alpha.nonzero().squeeze(1)
        if len(moved) == 0:
            return
        codes = self.codebook[moved]
        if self.anchors == "random":
            anchors = self.pool[moved]
        elif self.anchors == "closest":
            anchors = features.rows(closest(features, codes.to(z.dtype), distance=self.distance))
        else:
            uniform = torch.rand(self.codebook_size, generator=generator).to(z.device)[moved].to(z.dtype)
            anchors = features.rows(probable(features, codes.to(z.dtype), uniform, distance=self.distance))
        self.codebook[moved] = codes.lerp(anchors.to(codes.dtype), alpha[moved, None].to(codes.dtype))

    def _refill(self, features: JoinedFeatures, generator: torch.Generator) -> None:
        """A batch larger than the pool replaces it; a smaller one fills it in order, then at random slots."""
        size, pooled = self.codebook_size, int(self.pooled)
        if features.total > size:
            slots, pooled = torch.arange(size), size
            places = torch.randint(features.total, (size,), generator=generator)
        elif pooled < size:
            slots = torch.arange(pooled, min(size, pooled + features.total))
            places = torch.arange(len(slots))
            pooled += len(slots)
        else:
            slots = torch.randperm(size, generator=generator)[: features.total]
            places = torch.arange(features.total)
        device = self.pool.device
        self.pool[slots.to(device)] = features.rows(places.to(device)).to(self.pool.dtype)
        self.pooled.fill_(pooled)
