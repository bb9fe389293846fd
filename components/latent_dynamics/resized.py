"""Latent dynamics at a size of their own."""

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.latent_dynamics import Dynamics, LatentDynamics
from components.randomness import ClipRandom


class Resized(nn.Module):
    """Another latent dynamics model that sees all frames at `side` x `side` pixels, and decodes to that size.

    Source: VideoWorld (arXiv 2501.09781), released code: frames of 256 pixels, their dynamics at 128.
    """

    def __init__(self, *, dynamics: LatentDynamics, side: int) -> None:
        super().__init__()
        self.dynamics, self.side = dynamics, side
        self.horizon, self.num_codes = dynamics.horizon, dynamics.num_codes
        self.codebook_size, self.dim = dynamics.codebook_size, dynamics.dim

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.dynamics.last_layer)

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b n"]:
        return self.dynamics.encode(self.resized(video))

    def features(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b n d"]:
        return self.dynamics.features(self.resized(video))

    def lookup(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        return self.dynamics.lookup(codes)

    def decode(
        self, frame: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b f 3 h w"]:
        """Frames 1..H, back at the size of the frame given."""
        frames = self.dynamics.decode(self.resized(frame[:, None])[:, 0], codes)
        return resize(frames, frame.shape[-2], frame.shape[-1])

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        made = self.dynamics.reconstruct(self.resized(video), random)
        return made._replace(video=resize(made.video, *video.shape[-2:]))

    def autoencode(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        made = self.dynamics.autoencode(self.resized(video), random)
        return made._replace(video=resize(made.video, *video.shape[-2:]))

    def resized(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 3 s s"]:
        return resize(video, self.side, self.side)


def resize(video: Float[Tensor, "b t 3 h w"], height: int, width: int) -> Float[Tensor, "b t 3 i j"]:
    """Bilinear, smoothed where it shrinks; sizes that fit already are left alone."""
    if video.shape[-2:] == (height, width):
        return video
    frames = F.interpolate(video.flatten(0, 1), (height, width), mode="bilinear", antialias=True)
    return frames.unflatten(0, video.shape[:2])
