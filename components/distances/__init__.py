"""Distances: what an element's error costs.

| name | cost of an error d | paper |
|---|---|---|
| squared | d^2 | - |
| pseudo_huber | d^2 for small errors, 2 c abs(d) for large ones | improved consistency training |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Distance(Protocol):
    """Element by element: like the predicted values, never negative."""

    def __call__(
        self, predicted: Float[Tensor, "*n"], target: Float[Tensor, "*n"]
    ) -> Float[Tensor, "*n"]: ...
