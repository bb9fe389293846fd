"""Transformations move the pixels of frames already seen.

| name | a warp is | read from | reaches | penalty | paper |
|---|---|---|---|---|---|
| cdna | a kernel for the whole frame | bottleneck | half a kernel | - | Finn 2016, SAVP |
| dna | a kernel a pixel | features at full size | half a kernel | - | Finn 2016 |
| flow | a vector a pixel | features at full size | anywhere | total variation | Visual Foresight |

A warp predicted from the features moves anything on the same pixel grid: the frame, or the probability of
where a designated pixel is (Visual Foresight). So predicting the motion and applying it are two calls.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Transformation(Protocol):
    """Several warps of each of the last frames.

    The generator that owns it fills in `bottleneck_shape` (k, i, j), `feature_channels` f and `num_frames`,
    the number of last frames warped.
    """

    num_warps: int  # of each frame

    def __call__(
        self, bottleneck: Float[Tensor, "b k i j"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b n ..."]:
        """The motion: n = num_frames * num_warps warps, those of the oldest frame first."""

    def warp(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b m ..."]
    ) -> Float[Tensor, "b m c h w"]:
        """Every image under each of its m warps; all channels of an image move alike."""

    def regulariser(self, motion: Float[Tensor, "b n ..."]) -> Float[Tensor, ""]:
        """A penalty on implausible motion, mean over the batch; weighted by the recipe."""
