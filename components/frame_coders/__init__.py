"""Frame coders: a frame as one vector with skip connections, and back.

| name | layers | parameters, 64x64, code of 128 | paper |
|---|---|---|---|
| vgg | 3x3 convolutions, max pooling, nearest upsampling | 20.5 M | SVG, BAIR and KTH |
| dcgan | 4x4 convolutions of stride 2 | 10.4 M | SVG, moving MNIST |
"""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


class FrameCode(NamedTuple):
    """A frame's vector and the feature maps that a decoder may copy from."""

    code: Float[Tensor, "b g"]  # in [-1, 1]
    skips: tuple[Tensor, ...]  # (b, channels, height, width) each, finest first


@runtime_checkable
class FrameCoder(Protocol):
    """Frames in [0, 1] to codes, and codes with the skips of any frame to frames in [0, 1].

    What moves goes through the code, what stands still may come from the skips of an earlier frame.
    """

    image_channels: int
    code_dim: int

    def encode(self, frame: Float[Tensor, "b c h w"]) -> FrameCode: ...

    def decode(
        self, code: Float[Tensor, "b g"], skips: tuple[Tensor, ...]
    ) -> Float[Tensor, "b c height width"]: ...
