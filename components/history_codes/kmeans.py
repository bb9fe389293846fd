"""K-means over latent pixels, batch after batch, in any number of processes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.quantizers.ranks import JoinedFeatures, sum_over_ranks

ROWS = 65_536  # latent pixels whose distances to all centres are in memory at once


class KMeans(nn.Module):
    """The nearest of num_codes centres for each latent pixel, a vector of `channels` numbers.

    The first batch gives the first centres, by k-means++. Each batch then moves a centre to the mean of all
    latents that have been nearest to it so far.
    keep: what a latent of a batch before still counts; 0 is Lloyd's algorithm on one batch given again and
    again.  seed: of the first centres.
    Source: FramePack (arXiv 2504.12626), history discretisation, which leaves first centres and the number of
    rounds open; streaming k-means of Sculley (2010).
    """

    centres: Tensor
    counts: Tensor

    def __init__(self, *, channels: int, num_codes: int, keep: float = 1.0, seed: int) -> None:
        super().__init__()
        if num_codes < 1 or not 0 <= keep <= 1:
            told = f"num_codes is {num_codes}, keep {keep}; give at least 1, and 0 to 1"
            raise ValueError(f"{told}; history_codes=null is none")
        self.num_codes, self.keep, self.seed = num_codes, keep, seed
        self.register_buffer("centres", torch.zeros(num_codes, channels))
        self.register_buffer("counts", torch.zeros(num_codes))  # latents that each centre is the mean of

    def forward(self, z: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b l c i j"]:
        rows = _rows(z)
        found = self.centres[self._nearest(rows.float())].to(z.dtype)
        return found.view(*z.movedim(2, -1).shape).movedim(-1, 2)

    @torch.no_grad()
    def learn(self, z: Float[Tensor, "b l c i j"]) -> Float[Tensor, ""]:
        """One batch of all processes; returns the mean squared distance to its nearest centres, before."""
        rows = _rows(z).float()
        if not self.counts.any():
            self.centres.copy_(self._first(JoinedFeatures(rows)))
        codes = self._nearest(rows)
        distance = (rows - self.centres[codes]).square().sum(dim=1).sum()
        sums = torch.zeros_like(self.centres).index_add_(0, codes, rows)
        found = torch.bincount(codes, minlength=self.num_codes).to(sums)
        sums, found = sum_over_ranks(sums), sum_over_ranks(found)
        self.counts.mul_(self.keep).add_(found)
        self.centres += (sums - found[:, None] * self.centres) / self.counts.clamp(min=1.0)[:, None]
        return sum_over_ranks(distance) / found.sum()

    def _nearest(self, rows: Float[Tensor, "n c"]) -> Int[Tensor, " n"]:
        return torch.cat([torch.cdist(part, self.centres).argmin(dim=1) for part in rows.split(ROWS)])

    def _first(self, rows: JoinedFeatures) -> Float[Tensor, "k c"]:
        """K-means++: each centre one of the latents, with a chance in proportion to its squared distance."""
        generator = torch.Generator().manual_seed(self.seed)
        local = rows.local
        far = torch.full((len(local),), float("inf"), device=local.device)
        place = int(torch.randint(rows.total, (1,), generator=generator))
        chosen = []
        for _ in range(self.num_codes):
            chosen.append(rows.rows(torch.tensor([place], device=local.device))[0])
            far = torch.minimum(far, (local - chosen[-1]).square().sum(dim=1))
            place = _drawn(far, rows, float(torch.rand((), generator=generator, dtype=torch.float64)))
        return torch.stack(chosen)


def _drawn(weights: Float[Tensor, " n"], rows: JoinedFeatures, u: float) -> int:
    """A place among the rows of all processes, by their weights; the same on all."""
    spread = torch.zeros(rows.total, dtype=torch.float64, device=weights.device)
    spread[rows.first : rows.first + len(weights)] = weights.double()
    sums = sum_over_ranks(spread).cumsum(dim=0)
    return min(int(torch.searchsorted(sums, u * sums[-1])), rows.total - 1)


def _rows(z: Float[Tensor, "b l c i j"]) -> Float[Tensor, "n c"]:
    return z.movedim(2, -1).flatten(0, -2)
