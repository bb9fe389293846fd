"""A soft start."""

import math


class Sigmoid:
    """value / (1 + k exp(-step / k)): half the value at step k ln k.

    Raises ValueError unless k > 0.
    Source: SAVP's official code, kl_anneal = sigmoid.
    """

    def __init__(self, *, k: float, value: float = 1.0) -> None:
        if k <= 0:
            raise ValueError(f"a sigmoid needs k > 0; k is {k}")
        self.k, self.value = k, value

    def __call__(self, step: int) -> float:
        return self.value / (1.0 + self.k * math.exp(-step / self.k))
