"""Code predictors: the next frame's code from this one's.

| name | memory | parameters, code of 128, latent of 64 | paper |
|---|---|---|---|
| code_lstm | LSTM of two layers | 1.13 M | SVG |
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class CodePredictor(Protocol):
    """Read one code a step, with the latent and the action between it and the next, and give the next.

    The state is the predictor's own.
    """

    latent_dim: int
    action_dim: int

    def initial_state(self, like: Float[Tensor, "b ..."]) -> Any: ...

    def step(
        self,
        code: Float[Tensor, "b g"],
        state: Any,
        *,
        latent: Float[Tensor, "b z"],
        action: Float[Tensor, "b a"] | None = None,
    ) -> tuple[Float[Tensor, "b g"], Any]: ...
