"""Hinge."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Hinge:
    """D: mean relu(1 - D(x)) + mean relu(1 + D(x^)).  G: -mean D(x^).

    Source: Miyato et al. 2018 (SNGAN), equations (16) and (17).
    """

    def discriminator(
        self, real_logits: Float[Tensor, "*n"], fake_logits: Float[Tensor, "*m"]
    ) -> Float[Tensor, ""]:
        return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()

    def generator(self, fake_logits: Float[Tensor, "*m"]) -> Float[Tensor, ""]:
        return -fake_logits.mean()
