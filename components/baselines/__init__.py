"""Baselines: predictions that cost nothing to train, to be beaten before anything is claimed.

| name | idea | right about |
|---|---|---|
| copy_last | the last context frame, again and again | still scenes, static cameras |
| constant_velocity | every moving pixel goes on as it moved just before | uniform motion, panning |
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Baseline(Protocol):
    """Predict `horizon` frames from context frames in [0, 1]."""

    def __call__(self, context: Float[Tensor, "b c 3 h w"], horizon: int) -> Float[Tensor, "b t 3 h w"]: ...
