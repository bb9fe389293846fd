"""Latent tokenizers turn video into continuous latents and back; time is the second axis, before channels.

| name | l of a clip of t frames | i, j of a frame | causal | source |
|---|---|---|---|---|
| causal_vae | 1 + (t - 1) / 4 | h / 4, w / 4 | yes | ours, trained from nothing |
| causal_vae_large | 1 + (t - 1) / 4 | h / 8, w / 8 | yes | ours, as wide as Wan's |
| wan | 1 + (t - 1) / 4 | h / 8, w / 8 | yes | Wan 2.1, diffusers' weights |
| hunyuan_video | 1 + (t - 1) / 4 | h / 8, w / 8 | no | HunyuanVideo, diffusers' weights |
| pixels | t | h, w | yes | the pixels themselves, of tiny worlds |
| cogvideox | 1 + (t - 1) / 4, t = 1 + 8 n | h / 8, w / 8 | no | CogVideoX, diffusers' weights |

Causal: a latent frame sees its frames and those before. The latents of a prefix are then a prefix of the
latents, and a clip may be cut before or after coding; elsewhere the latents depend on where the clip was cut.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from components.randomness import ClipRandom

Encoding = Callable[[Float[Tensor, "b t 3 h w"]], Float[Tensor, "b l c i j"]]
Decoding = Callable[[Float[Tensor, "b l c i j"]], Float[Tensor, "b t 3 h w"]]


class LatentReconstruction(NamedTuple):
    """What a training pass gives: the video in [0, 1] but not clamped, its latents, the weighted KL."""

    video: Float[Tensor, "b t 3 h w"]
    latents: Float[Tensor, "b l c i j"]  # as encode gives them
    loss: Float[Tensor, ""]


@runtime_checkable
class LatentTokenizer(Protocol):
    """Video in [0, 1] of any length and size that `grid` allows <-> latents of about unit variance.

    time_factor, space_factor: frames and pixels of a side to one latent; the first latent frame is one frame.
    """

    channels: int
    time_factor: int
    space_factor: int
    causal: bool

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Sides (l, i, j) of the grid of latents. Raises ValueError for sizes that do not fit."""

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
        """Normalised mean of the posterior, without gradients."""

    def decode(self, latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
        """Video clamped to [0, 1], of normalised latents."""

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> LatentReconstruction:
        """The training pass through a sample of the posterior: gradients reach every weight."""

    def encoding(self) -> Encoding:
        """Encode a video that arrives in parts, 1 + k time_factor frames and then k time_factor at a time.

        Together the parts' latents equal those of the whole. Raises ValueError where no parts can do that.
        """

    def decoding(self) -> Decoding:
        """Decode latents that arrive in parts of any number of latent frames.

        Together the parts' frames equal those of the whole, but for what the implementation says of itself.
        """

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""

    def settings(self) -> dict[str, str | int | float | bool]:
        """What decides the latents beside the weights and buffers."""
