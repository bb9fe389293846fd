"""Tokenizers turn video into grids of codes and back.

| name | l of a clip of t frames | i, j of a frame | a code sees | paper |
|---|---|---|---|---|
| vqgan | t | h / 2^(levels - 1), w / 2^(levels - 1) | its frame | VQGAN |

vqgan_lwm and vqgan_videoworld are of published sizes.

The codebook belongs to the quantiser inside, a component of its own kind.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from components.randomness import ClipRandom


class Reconstruction(NamedTuple):
    """What a training pass gives: the video in [0, 1] but not clamped, its codes, the quantiser's loss."""

    video: Float[Tensor, "b t 3 h w"]
    codes: Int[Tensor, "b l i j"]
    loss: Float[Tensor, ""]


@runtime_checkable
class VideoTokenizer(Protocol):
    """Video in [0, 1] of any length and size that `grid` allows <-> codes in [0, codebook_size)."""

    codebook_size: int

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Sides (l, i, j) of the grid of codes. Raises ValueError for sizes that do not fit."""

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b l i j"]:
        """Codes, without gradients; never changes the codebook, in training mode neither."""

    def decode(self, codes: Int[Tensor, "b l i j"]) -> Float[Tensor, "b t 3 h w"]:
        """Video clamped to [0, 1]."""

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Reconstruction:
        """The training pass: gradients reach every weight, the quantiser updates its codebook.

        random: where noise is drawn, if any is.
        """

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
