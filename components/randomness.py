"""Random numbers that depend on the clip, not on how many processes share the batch."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*keys: int) -> int:
    """One well-spread 63-bit seed from several integers (the finaliser of splitmix64, chained)."""
    state = 0
    for key in keys:
        state = (state + 0x9E3779B97F4A7C15 + (key & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


class ClipRandom:
    """Draws for one training step, clip by clip.

    Clip i of a batch has its own generator, seeded by (seed, step, first + i), where first + i is its place
    in the global batch. So a step draws the same noise in one process or in eight, and a resumed run draws
    what the stopped one would have: the whole random state is (seed, step).

    seed, step, first, size: as given, for what is shared by a whole global batch.
    """

    def __init__(
        self, seed: int, step: int, *, first: int, size: int, device: torch.device | str = "cpu"
    ) -> None:
        self.seed, self.step, self.first, self.size = seed, step, first, size
        self.device = torch.device(device)
        self.generators = [
            torch.Generator(self.device).manual_seed(mix(seed, step, first + i)) for i in range(size)
        ]

    def normal(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Standard normal, (b, *shape)."""
        return self._draw(lambda g: torch.randn(shape, generator=g, device=self.device))

    def uniform(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Uniform in [0, 1), (b, *shape)."""
        return self._draw(lambda g: torch.rand(shape, generator=g, device=self.device))

    def integers(self, low: int, high: int, *shape: int) -> Int[Tensor, "b ..."]:
        """Uniform integers in [low, high), (b, *shape)."""
        return self._draw(lambda g: torch.randint(low, high, shape, generator=g, device=self.device))

    def _draw(self, one: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([one(g) for g in self.generators])
