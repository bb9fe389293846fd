"""Timestep laws: how often training sees each noise level, before the shift.

| name | density is highest | paper |
|---|---|---|
| uniform | nowhere | rectified flow |
| logit_normal | in the middle, moved by its mean | Stable Diffusion 3 |
| mode | in the middle, and never low; at both ends for a negative scale | Stable Diffusion 3 |
| log_snr | where the logarithm of the signal-to-noise ratio is near its mean | - |

A law is its inverse cumulative function, so that levels can be drawn in strata, cut to a range, and asked
for at fixed quantiles.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class TimestepLaw(Protocol):
    """A distribution on [0, 1], where 1 is pure noise."""

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The level that a share u of all draws does not exceed; grows with u."""
