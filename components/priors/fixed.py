"""The standard normal prior."""

from jaxtyping import Float
from torch import Tensor, nn

from components.gaussian import DiagonalGaussian


class FixedPrior(nn.Module):
    """N(0, I) for every transition, whatever the context.

    Source: SAVP (arXiv 1804.01523), every shipped configuration.
    """

    def __init__(self, *, latent_dim: int = 8) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(
        self,
        context: Float[Tensor, "b c k h w"],
        num_latents: int,
        actions: Float[Tensor, "b c-1 a"] | None = None,
    ) -> DiagonalGaussian:
        zeros = context.new_zeros(len(context), num_latents, self.latent_dim)
        return DiagonalGaussian(zeros, zeros)
