"""The square of the error."""

from jaxtyping import Float
from torch import Tensor


class Squared:
    """d^2."""

    def __call__(self, predicted: Float[Tensor, "*n"], target: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return (predicted - target).square()
