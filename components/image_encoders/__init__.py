"""Image encoders: a start image to features that a denoiser is conditioned on beside the text.

| name | reads | tokens | width | weights |
|---|---|---|---|---|
| siglip | 384x384 pixels | 729 | 1152 | frozen: FramePack |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class ImageEncoder(Protocol):
    """Features of images in [0, 1] of any size, on the encoder's device. frozen: nothing in it is trained."""

    dim: int
    frozen: bool

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b m e"]: ...

    def settings(self) -> dict[str, str | int | float | bool]:
        """What decides the features, beside weights and buffers that are in the state dict."""
