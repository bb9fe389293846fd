"""Finite scalar quantisation: a few numbers, each rounded to one of a few levels."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.quantizers import Quantized
from components.quantizers.pieces import full_precision, project, rows

MARGIN = 1e-3  # the bound lies this share beyond the outer levels, so that rounding reaches them


class FiniteScalarQuantizer(nn.Module):
    """Round each of n = len(levels) numbers to one of L_i levels in [-1, 1]; features (..., dim).

    index = sum_i l_i prod_{j<i} L_j, where l_i in [0, L_i) counts levels from below: the first number runs
    fastest. Linear projections in and out where dim is not n. No loss.
    Raises ValueError for fewer than 3 levels: with two, the threshold lies far from 0 (take lfq).
    Source: FSQ (arXiv 2309.15505), appendix A.1; VideoWorld has levels [8, 8, 8, 5, 5, 5].
    """

    sizes: Tensor
    strides: Tensor

    def __init__(self, *, levels: list[int], dim: int) -> None:
        super().__init__()
        if not levels or min(levels) < 3:
            raise ValueError(f"levels of fsq are at least 3 each, got {levels}; for two levels take lfq")
        self.codebook_size = math.prod(levels)
        self.dim = dim
        n = len(levels)
        self.project_in = nn.Linear(dim, n) if dim != n else nn.Identity()
        self.project_out = nn.Linear(n, dim) if dim != n else nn.Identity()
        strides = [math.prod(levels[:i]) for i in range(n)]
        self.register_buffer("sizes", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def forward(self, latents: Float[Tensor, "*n d"]) -> Quantized:
        with full_precision(latents):
            bounded = self._bound(project(self.project_in, rows(latents)))
            places = bounded.detach().round()
            half = self.sizes // 2
            codes = (places + (bounded - bounded.detach())) / half  # straight through the rounding alone
            indices = ((places.long() + half) * self.strides).sum(dim=-1)
            quantized = project(self.project_out, codes).to(latents.dtype)
        loss = torch.zeros((), dtype=codes.dtype, device=codes.device)
        return Quantized(quantized.view_as(latents), indices.view(latents.shape[:-1]), loss)

    def lookup(self, indices: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        half = self.sizes // 2
        places = indices[..., None] // self.strides % self.sizes - half
        with full_precision(indices):
            return project(self.project_out, places.float() / half)

    def _bound(self, z: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Into (-L/2, L/2), with as many levels above 0 as below; of an even number the spare one below."""
        half = (self.sizes - 1) * (1 + MARGIN) / 2
        offset = 0.5 * (self.sizes % 2 == 0)
        return torch.tanh(z + torch.atanh(offset / half)) * half - offset
