"""Mean absolute difference."""

from jaxtyping import Float
from torch import Tensor


def absolute_difference(
    predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]
) -> Float[Tensor, "b t"]:
    """Mean absolute difference of each frame, in grey levels of [0, 1]."""
    return (predicted - truth).float().abs().mean(dim=(-3, -2, -1))
