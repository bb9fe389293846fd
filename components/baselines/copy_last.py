"""Copy the last frame."""

from jaxtyping import Float
from torch import Tensor


class CopyLast:
    """Predict that nothing moves."""

    def __call__(self, context: Float[Tensor, "b c 3 h w"], horizon: int) -> Float[Tensor, "b t 3 h w"]:
        return context[:, -1:].repeat(1, horizon, 1, 1, 1)
