"""Posteriors read the latents from the frames they explain; for training, and for the pairs inside a context.

| name | latent t sees | memory | paper |
|---|---|---|---|
| pair_encoder | frames t and t + 1 and the action between them | none | SAVP |
| video_encoder | every frame of the clip | none | SV2P |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from components.gaussian import DiagonalGaussian


@runtime_checkable
class Posterior(Protocol):
    """One Gaussian a transition: fields of shape (b, t-1, latent_dim) from frames in [0, 1]."""

    latent_dim: int
    pairs_only: bool  # latent t sees frames t and t + 1 alone: pairs inside a context leak nothing

    def __call__(
        self, video: Float[Tensor, "b t c h w"], actions: Float[Tensor, "b t-1 a"] | None = None
    ) -> DiagonalGaussian: ...
