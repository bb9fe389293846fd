"""The prior that reads nothing."""

from jaxtyping import Float
from torch import Tensor, nn

from components.gaussian import DiagonalGaussian


class StandardNormal(nn.Module):
    """N(0, I) at every step.

    Source: SVG (arXiv 1802.07687), section 3.1, the fixed prior of SVG-FP.
    """

    def __init__(self, *, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def initial_state(self, like: Float[Tensor, "b ..."]) -> None:
        return None

    def step(
        self, code: Float[Tensor, "b g"], state: None, *, action: Float[Tensor, "b a"] | None = None
    ) -> tuple[DiagonalGaussian, None]:
        zeros = code.new_zeros(len(code), self.latent_dim)
        return DiagonalGaussian(zeros, zeros), None
