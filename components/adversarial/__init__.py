"""Adversarial objectives: what a discriminator and its generator minimise.

| name | discriminator wants | generator wants | paper |
|---|---|---|---|
| lsgan | real logits at 1, fake ones at 0, squared | fake logits at 1, squared | LSGAN; SAVP's default |
| softplus | real logits up, fake ones down, softplus | fake logits up, softplus | GAN; option of SAVP |
| hinge | real logits above 1, fake ones under -1 | fake logits up | SNGAN and later |

Beside them, feature_matching asks for predicted clips whose discriminator features equal the real ones'.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class AdversarialLoss(Protocol):
    """Two losses over logits of any shape, each a mean over that shape."""

    def discriminator(
        self, real_logits: Float[Tensor, "*n"], fake_logits: Float[Tensor, "*m"]
    ) -> Float[Tensor, ""]: ...

    def generator(self, fake_logits: Float[Tensor, "*m"]) -> Float[Tensor, ""]: ...
