"""Priors: where the latents of the future come from.

| name | depends on | parameters | paper |
|---|---|---|---|
| fixed | nothing | 0 | SAVP |
| learned | the context frames, through an LSTM | 1.2 M | option of SAVP's code |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from components.gaussian import DiagonalGaussian


@runtime_checkable
class Prior(Protocol):
    """One Gaussian a transition: fields of shape (b, num_latents, latent_dim).

    The first c - 1 latents belong to the transitions inside the context of c frames. Only the context is
    seen: actions are those between its frames.
    """

    latent_dim: int

    def __call__(
        self,
        context: Float[Tensor, "b c k h w"],
        num_latents: int,
        actions: Float[Tensor, "b c-1 a"] | None = None,
    ) -> DiagonalGaussian: ...
