"""Least squares."""

from jaxtyping import Float
from torch import Tensor


class LSGAN:
    """D: mean (D(x) - 1)^2 + mean D(x^)^2.  G: mean (D(x^) - 1)^2.

    Source: Mao et al. 2017 as in SAVP's official code (gan_loss_type LSGAN), without the factor 1/2.
    """

    def discriminator(
        self, real_logits: Float[Tensor, "*n"], fake_logits: Float[Tensor, "*m"]
    ) -> Float[Tensor, ""]:
        return (real_logits - 1.0).square().mean() + fake_logits.square().mean()

    def generator(self, fake_logits: Float[Tensor, "*m"]) -> Float[Tensor, ""]:
        return (fake_logits - 1.0).square().mean()
