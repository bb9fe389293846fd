"""Feature caches: what a denoiser takes over from the step before instead of computing it, in sampling.

| name | a step is skipped | paper |
|---|---|---|
| tea | while the first block is given nearly what it was when last computed | TeaCache (2411.19108) |

Without one (null) every step is computed.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Blocks = Callable[[], Tensor]  # the noised tokens behind all blocks


@runtime_checkable
class Reuse(Protocol):
    """One sampling of one velocity function: called once a velocity, in the order of the steps."""

    def __call__(
        self, signal: Float[Tensor, "b n d"], tokens: Float[Tensor, "b m d"], blocks: Blocks
    ) -> Float[Tensor, "b m d"]:
        """The noised tokens behind the blocks, computed or made up.

        signal: by whose change it is decided. tokens: the noised ones before the blocks.
        """


@runtime_checkable
class FeatureCache(Protocol):
    """Settings; what is remembered lives in what `start` gives."""

    def start(self, num_steps: int) -> Reuse:
        """For one sampling of so many velocities."""
