"""Discriminators tell real clips from predicted ones.

| name | sees | tells apart by | parameters, 64x64 | paper |
|---|---|---|---|---|
| video | num_frames frames at once, 3-D convolutions | looks and motion | 5.1 M for 10 frames | SAVP |
| image | one frame | looks | 1.5 M | SNGAN; option of SAVP's code |
| images | num_frames frames, each on its own | looks | 1.5 M | option of SAVP's code |
| patch | patches of num_frames frames, each frame on its own | texture | 2.8 M, any size | VQGAN |

All but patch, which has batch norm, are spectrally normalised in every layer: in training mode each pass
refines the norms by one power iteration. The recipe picks the frames: a clip of `num_frames` from a random
start.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Discriminator(Protocol):
    """Logits and features of a clip of exactly `num_frames` frames in [0, 1]."""

    num_frames: int

    def __call__(
        self, clip: Float[Tensor, "b t c h w"]
    ) -> tuple[Float[Tensor, " n"], list[Float[Tensor, "n _channels ..."]]]:
        """One logit for everything judged, those of a clip together: n = b, b * t or b * t * patches.

        Feature maps have clips or frames on axis 0, channels on axis 1.
        """
