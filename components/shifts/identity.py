"""No shift."""

from jaxtyping import Float
from torch import Tensor


class Identity:
    """sigma, as it is."""

    def __call__(self, sigma: Float[Tensor, "*n"], num_tokens: int) -> Float[Tensor, "*n"]:
        return sigma
