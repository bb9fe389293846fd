"""The probability of feeding the truth in scheduled sampling."""

import math

OFF_BELOW = 0.001  # from here on never, rather than hardly ever


class InverseSigmoid:
    """k / (k + exp(step / k)): near 1 at first, 0.5 at step k ln k, and exactly 0 once under 0.001.

    Raises ValueError unless k > 1, where the value would not start in the upper half.
    Source: Bengio et al. 2015 as in SAVP's official code, k = 900.
    """

    def __init__(self, *, k: float = 900.0) -> None:
        if k <= 1:
            raise ValueError(f"an inverse sigmoid needs k > 1; k is {k}")
        self.k = k

    def __call__(self, step: int) -> float:
        exponent = step / self.k - math.log(self.k)
        if exponent > -math.log(OFF_BELOW):  # also keeps exp from overflowing
            return 0.0
        value = 1.0 / (1.0 + math.exp(exponent))
        return value if value >= OFF_BELOW else 0.0
