"""Cross entropy in its non-saturating form."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Softplus:
    """D: mean softplus(-D(x)) + mean softplus(D(x^)).  G: mean softplus(-D(x^)).

    Sigmoid cross entropy against labels 1 and 0, written out. SAVP's official code offers it twice, as
    gan_loss_type GAN (cross entropy) and SNGAN (softplus): one function, so one component.
    Source: Goodfellow et al. 2014; its author found it worse than least squares for SAVP.
    """

    def discriminator(
        self, real_logits: Float[Tensor, "*n"], fake_logits: Float[Tensor, "*m"]
    ) -> Float[Tensor, ""]:
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator(self, fake_logits: Float[Tensor, "*m"]) -> Float[Tensor, ""]:
        return F.softplus(-fake_logits).mean()
