"""Latent dynamics: what changes after a frame, as a handful of codes learned from video alone.

| name | codes of a frame | an imagined frame depends on | source |
|---|---|---|---|
| causal_queries | of each of the next H frames | the codes up to its own | VideoWorld, section 3.2 |
| causal_queries_paper | the same, at 128x128 pixels | the codes up to its own | VideoWorld, table A.1 |
| pairs | of chosen frames ahead, each seen with the first alone | its code alone | VideoWorld's Go weights |
| magvit | of each of the next H frames | all codes | VideoWorld, released code and weights |
| resized | another's, that sees frames at a size of its own | as that one's | VideoWorld, released code |

Where to start: causal_queries. pairs trains a model for each distance: take it where all that matters lies in
two frames, and frames between them are nothing to learn. magvit is for public weights.

The decoder has the first frame as it is, so a code need tell only what is new. Codes are learned from pixels:
no actions, no labels. Training begins as an autoencoder, without rounding, and may then stand for some
hundred steps where copying the first frame is; watch val/distinct_codes_1 and so on: a horizon whose clips
all have one code does not use it.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from components.randomness import ClipRandom


class Dynamics(NamedTuple):
    """What a training pass gives.

    video: frames 0 to H in [0, 1] but not clamped.
    codes: of the first frame.
    loss: the quantiser's, weighted.
    """

    video: Float[Tensor, "b f 3 h w"]
    codes: Int[Tensor, "b n"]
    loss: Float[Tensor, ""]


@runtime_checkable
class LatentDynamics(Protocol):
    """What follows a frame <-> codes; video in [0, 1].

    horizon: H, frames ahead.
    num_codes: codes of a frame.
    codebook_size: codes are in [0, codebook_size).
    dim: of a code's feature.
    A video with fewer than 1 + H frames goes on as its last frame; frames beyond are not looked at. A model
    may have a `factor`, of which both sides of a frame are multiples.
    """

    horizon: int
    num_codes: int
    codebook_size: int
    dim: int

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b n"]:
        """Codes of the first frame, without gradients."""

    def features(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b n d"]:
        """What the codes of the first frame are quantised from."""

    def lookup(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """What codes stand for: the features, quantised."""

    def decode(
        self, frame: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b k 3 h w"]:
        """The H frames after `frame`, clamped to [0, 1]."""

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        """The training pass through the codes: gradients reach every weight that codes depend on."""

    def autoencode(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        """The pass that training begins with: features of frames, or of codes, that are not quantised."""

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last layer, where the adaptive adversarial weight is measured."""
