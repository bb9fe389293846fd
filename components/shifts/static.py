"""The same shift for every size."""

from jaxtyping import Float
from torch import Tensor


def shifted(sigma: Float[Tensor, "*n"], shift: float) -> Float[Tensor, "*n"]:
    """s sigma / (1 + (s - 1) sigma), in a form that keeps 0 and 1 exactly; by s, then by r, is by r s.

    Source: Stable Diffusion 3 (arXiv 2403.03206), section 5.3.2.
    """
    return shift * sigma / (shift * sigma + (1 - sigma))


class Static:
    """Shift by a constant: 1 changes nothing, more is noisier.

    Raises ValueError unless shift > 0.
    """

    def __init__(self, *, shift: float) -> None:
        if shift <= 0:
            raise ValueError(f"a static shift needs shift > 0; shift is {shift:g}")
        self.shift = shift

    def __call__(self, sigma: Float[Tensor, "*n"], num_tokens: int) -> Float[Tensor, "*n"]:
        return shifted(sigma, self.shift)
