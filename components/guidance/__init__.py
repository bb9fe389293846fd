"""Guidance: how a conditional and an unconditional velocity make the one that sampling follows.

| name | velocities a step | paper |
|---|---|---|
| classifier_free | 2, or 1 at scale 1 | classifier-free guidance; rescaled as in arXiv 2305.08891 |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from components.flow_path import Velocity


@runtime_checkable
class Guidance(Protocol):
    """Velocities at x and its noise level, with and without the condition, into one.

    needs_unconditional: whether the second is looked at; else it may be None, and is best not computed.
    """

    needs_unconditional: bool

    def __call__(
        self,
        conditional: Float[Tensor, "b *n"],
        unconditional: Float[Tensor, "b *n"] | None,
        x: Float[Tensor, "b *n"],
        sigma: Float[Tensor, " b"],
    ) -> Float[Tensor, "b *n"]: ...


def guided(guidance: Guidance, conditional: Velocity, unconditional: Velocity) -> Velocity:
    """The velocity that sampling follows between the two."""
    return lambda x, sigma: guidance(conditional(x, sigma), unconditional(x, sigma), x, sigma)
