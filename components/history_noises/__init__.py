"""Noise on the history: what is seen of known frames is noised, so that a model's own errors are lost in it.

| name | how much | paper |
|---|---|---|
| clean | none | FramePack |
| tied | a share of the section's own noise level | diffusion forcing as in SkyReels-V2 (arXiv 2504.13074) |
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from components.memories import Context
from components.randomness import ClipRandom

Draw = Callable[..., Tensor]  # shape -> standard normal noise
Seen = Callable[[Tensor], Context]  # noise level of each sample's section -> what is seen beside it


@runtime_checkable
class HistoryNoise(Protocol):
    """What the model sees of a context, at the noise level of the section beside it."""

    def trained(self, context: Context, sigma: Float[Tensor, " b"], random: ClipRandom) -> Context:
        """In training."""

    def sampling(self, context: Context, draw: Draw) -> Seen:
        """In sampling, where noise that is drawn once stays the same from step to step."""
