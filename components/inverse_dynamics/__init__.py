"""Inverse dynamics: which action leads from a frame to what comes next.

| name | reads | source |
|---|---|---|
| frames_and_codes | the present frame, the next one, codes, or some of these | VideoWorld, supplement A |

Learned from the few clips whose actions are known, it gives a model of video alone something to do: what the
model says comes next is turned into the action that leads there. Nothing of it is trained with the model.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class InverseDynamics(Protocol):
    """What it looks at: the present frame, the next one too, codes. What it does not may be left out."""

    reads_frames: bool
    reads_next: bool
    reads_codes: bool

    def __call__(
        self, frames: Float[Tensor, "b c h w"] | None, codes: Float[Tensor, "b n d"] | None
    ) -> Float[Tensor, "b a"]:
        """The action.

        frames: the present frame, and the next one where it reads that, in each view, side by side as
            channels, in [0, 1].
        codes: what the codes of the present frame stand for, as `LatentDynamics.lookup` gives it.
        """
