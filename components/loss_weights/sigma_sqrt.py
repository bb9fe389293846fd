"""Errors of the latents instead of errors of the velocity."""

from jaxtyping import Float
from torch import Tensor


class SigmaSqrt:
    """sigma^-2; without bound near 0, so draw levels from a range that leaves 0 out.

    Source: Stable Diffusion 3's training code, as diffusers has it.
    """

    def __call__(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return sigma**-2.0
