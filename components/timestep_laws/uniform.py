"""Every level alike."""

from jaxtyping import Float
from torch import Tensor


class Uniform:
    """sigma = u."""

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return u
