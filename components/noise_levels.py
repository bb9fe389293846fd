"""Noise levels for training and validation: a law, a shift, a range, strata."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from components.randomness import ClipRandom, mix
from components.shifts import Shift
from components.timestep_laws import TimestepLaw

HALF_A_STEP = 2.0**-25  # between two float32 draws: levels 0 and 1 are never drawn
HALVINGS = 60


class NoiseLevels:
    """Draw levels of the law, shifted, that lie in [low, high], as if those outside were drawn again.

    strata: the law is cut into so many cells of equal probability, and each run of so many clips of a global
        batch has one clip in each, in an order that changes from step to step; 0: clips are drawn apart.
        Every draw alone still follows the law. Best the size of the global batch, or a divisor of it.
    Raises ValueError unless 0 <= low < high <= 1 and strata >= 0.
    """

    def __init__(
        self, *, law: TimestepLaw, shift: Shift, low: float = 0.0, high: float = 1.0, strata: int = 0
    ) -> None:
        if not 0 <= low < high <= 1 or strata < 0:
            raise ValueError(f"needs 0 <= low < high <= 1 and strata >= 0; they are {low}, {high}, {strata}")
        self.law, self.shift, self.low, self.high, self.strata = law, shift, low, high, strata
        self._ranges: dict[int, tuple[float, float]] = {}

    def draw(self, random: ClipRandom, num_tokens: int, groups: int | None = None) -> Float[Tensor, "b *g"]:
        """A level for each clip, (b,), or for each of the groups of its frames, (b, groups).

        num_tokens: tokens that are denoised at once. The same in one process as in several.
        """
        u = random.uniform(*([] if groups is None else [groups])).double() + HALF_A_STEP
        if self.strata:
            columns = [self._cells(random, column) for column in range(groups or 1)]
            u = (torch.stack(columns, dim=1).reshape(u.shape).to(u.device) + u) / self.strata
        return self._levels(u, num_tokens).float()

    def quantiles(self, q: Sequence[float], num_tokens: int) -> Float[Tensor, "n"]:
        """The levels that shares q of all draws do not exceed: fixed levels to validate at."""
        return self._levels(torch.tensor(q, dtype=torch.float64), num_tokens).float()

    def _levels(self, u: Float[Tensor, "*n"], num_tokens: int) -> Float[Tensor, "*n"]:
        first, last = self._range(num_tokens)
        sigma = self.shift(self.law.quantile(first + (last - first) * u), num_tokens)
        return sigma.clamp(self.low, self.high)

    def _range(self, num_tokens: int) -> tuple[float, float]:
        """Where the law's levels enter and leave [low, high], as shares of its draws: found by halving."""
        if num_tokens not in self._ranges:
            wanted = torch.tensor([self.low, self.high], dtype=torch.float64)
            under, over = torch.zeros_like(wanted), torch.ones_like(wanted)
            for _ in range(HALVINGS):
                middle = (under + over) / 2
                too_low = self.shift(self.law.quantile(middle), num_tokens) < wanted
                under, over = torch.where(too_low, middle, under), torch.where(too_low, over, middle)
            first, last = (under + over).div(2).tolist()
            self._ranges[num_tokens] = (first if self.low > 0 else 0.0, last if self.high < 1 else 1.0)
        return self._ranges[num_tokens]

    def _cells(self, random: ClipRandom, column: int) -> Float[Tensor, " b"]:
        """The stratum of each clip, from its place in the global batch."""
        places = range(random.first, random.first + random.size)
        orders = {}
        for run in {place // self.strata for place in places}:
            seed = mix(random.seed, random.step, run, column, self.strata)
            generator = torch.Generator().manual_seed(seed)
            orders[run] = torch.randperm(self.strata, generator=generator).tolist()
        cells = [orders[place // self.strata][place % self.strata] for place in places]
        return torch.tensor(cells, dtype=torch.float64)
