"""Video denoisers: the velocity of noised latents, given a context of past latents and a condition."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from components.feature_caches import Reuse


class Segment(NamedTuple):
    """Latent frames of the context that are cut into patches of one size.

    indices: true times of the frames in latent frames; they may jump.
    kernel: k cuts patches of (k, 2k, 2k) latents, k = 1, 2, 4, ...; sides that do not divide are padded.
    """

    latents: Float[Tensor, "b l c i j"]
    indices: Int[Tensor, "b l"]
    kernel: int


class Condition(NamedTuple):
    """What a denoiser is told beside latents; None where it has no such input or is to go without."""

    tokens: Float[Tensor, "b n d"]  # features of the text
    mask: Bool[Tensor, "b n"] | None  # which of them are real; None: all
    pooled: Float[Tensor, "b p"] | None = None  # one vector a text
    image: Float[Tensor, "b m e"] | None = None  # features of the start image
    guidance: Float[Tensor, " b"] | None = None  # scale that a guidance-distilled model is to act out


@runtime_checkable
class VideoDenoiser(Protocol):
    """Noised latents and their noise level in [0, 1] -> velocity, noise minus clean latents.

    One noise level a sample, or one a latent frame. indices are the true times of the frames of x, in latent
    frames. Context is clean, comes in any number of segments, and its order does not matter.
    reuse: what sampling takes over from step to step.
    """

    latent_channels: int
    text_dim: int
    pooled_dim: int  # 0: none
    image_dim: int  # 0: none
    context_kernels: tuple[int, ...]  # a patch layer each

    def blocks(self) -> list[nn.Module]:
        """What is sharded and recomputed one by one."""

    def patch_layers(self) -> list[nn.Module]:
        """Layers that the public base lacks: always trained in full, also beside low-rank additions."""

    def __call__(
        self,
        x: Float[Tensor, "b l c i j"],
        sigma: Float[Tensor, " b"] | Float[Tensor, "b l"],
        *,
        indices: Int[Tensor, "b l"],
        context: Sequence[Segment] = (),
        condition: Condition,
        reuse: Reuse | None = None,
    ) -> Float[Tensor, "b l c i j"]: ...
