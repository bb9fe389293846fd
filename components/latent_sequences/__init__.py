"""Latent sequences: a Gaussian a step, from the codes read so far.

A posterior is one that reads the frame its latent explains; a prior is one that reads the frame before.

| name | depends on | parameters, code of 128, latent of 64 | paper |
|---|---|---|---|
| gaussian_lstm | every code read so far | 0.59 M | SVG-LP |
| standard_normal | nothing | 0 | SVG-FP |
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from components.gaussian import DiagonalGaussian


@runtime_checkable
class LatentSequence(Protocol):
    """Read one code a step, with the action taken there, and give the Gaussian of that step's latent.

    Unlike a Prior, which gives all latents at once from the context, it can read frames as they are made.
    The state is the sequence's own.
    """

    latent_dim: int

    def initial_state(self, like: Float[Tensor, "b ..."]) -> Any: ...

    def step(
        self, code: Float[Tensor, "b g"], state: Any, *, action: Float[Tensor, "b a"] | None = None
    ) -> tuple[DiagonalGaussian, Any]: ...
