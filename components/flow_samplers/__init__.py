"""Flow samplers follow a network's velocity from noise to latents.

| name | order | velocities a step | paper |
|---|---|---|---|
| euler | 1 | 1 | - |
| unipc | 3 | 1 | FramePack's form of UniPC |

Levels fall from 1 to 0 in equal steps, shifted: `falling_levels`.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from components.flow_path import Velocity, latent_tokens
from components.shifts import Shift


@runtime_checkable
class FlowSampler(Protocol):
    """num_steps velocities, at levels that fall from 1; nothing random but the noise given."""

    num_steps: int
    shift: Shift

    def __call__(self, velocity: Velocity, noise: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b l c i j"]:
        """Latents from noise, in float32 or the noise's dtype if that is finer.

        velocity: (x, levels (b,)) -> predicted noise - latents.
        """


def falling_levels(num_steps: int, shift: Shift, noise: Float[Tensor, "b l c i j"]) -> list[float]:
    """num_steps + 1 levels from 1 to 0, shifted for this many tokens.

    Raises ValueError unless num_steps >= 1.
    """
    if num_steps < 1:
        raise ValueError(f"sampling needs num_steps >= 1; num_steps is {num_steps}")
    even = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    return shift(even, latent_tokens(noise)).tolist()
