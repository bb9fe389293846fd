"""A shift that grows with the number of tokens."""

from math import exp, log

from jaxtyping import Float
from torch import Tensor

from components.shifts.static import shifted


class Resolution:
    """Shift by e^mu, mu on the line through (base_tokens, base_mu) and (max_tokens, max_mu).

    The line goes on beyond both.  largest: bound on e^mu; None: none.
    Raises ValueError unless base_tokens < max_tokens and largest > 0.
    Source: FLUX's line; FramePack (arXiv 2504.12626), official code, whose bound is 7.
    """

    def __init__(
        self,
        *,
        base_tokens: int = 256,
        base_mu: float = 0.5,
        max_tokens: int = 4096,
        max_mu: float = 1.15,
        largest: float | None = 7.0,
    ) -> None:
        if base_tokens >= max_tokens:
            raise ValueError(f"needs base_tokens under max_tokens; they are {base_tokens} and {max_tokens}")
        if largest is not None and largest <= 0:
            raise ValueError(f"needs largest > 0, or null for no bound; it is {largest:g}")
        self.base_tokens, self.base_mu = base_tokens, base_mu
        self.slope = (max_mu - base_mu) / (max_tokens - base_tokens)
        self.largest_mu = None if largest is None else log(largest)

    def factor(self, num_tokens: int) -> float:
        """e^mu."""
        mu = self.base_mu + self.slope * (num_tokens - self.base_tokens)
        return exp(mu if self.largest_mu is None else min(mu, self.largest_mu))

    def __call__(self, sigma: Float[Tensor, "*n"], num_tokens: int) -> Float[Tensor, "*n"]:
        return shifted(sigma, self.factor(num_tokens))
