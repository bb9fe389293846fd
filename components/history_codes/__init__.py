"""Codes of the history: what frames to go on from become, so that a model's own errors are lost in them.

| name | what a latent becomes | paper |
|---|---|---|
| kmeans | the nearest of K centres of all training latents | FramePack, history discretisation ("+D") |

Without one (null) the history stays as it is.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class HistoryCodes(Protocol):
    """Latents -> latents of a finite set, pixel by pixel.

    channels is the tokenizer's, filled in by the owner.
    """

    def __call__(self, z: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b l c i j"]: ...

    def learn(self, z: Float[Tensor, "b l c i j"]) -> Float[Tensor, ""]:
        """Move towards these latents, of all processes; returns their mean squared distance before."""
