"""Euler's method."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from components.flow_path import Velocity
from components.flow_samplers import falling_levels
from components.shifts import Shift


class Euler:
    """x <- x + (sigma_next - sigma) v(x, sigma), down to level 0.

    num_steps: steps, with a velocity each.  shift: of the levels.
    Equal to diffusers' FlowMatchEulerDiscreteScheduler on the same levels.
    """

    def __init__(self, *, num_steps: int, shift: Shift) -> None:
        self.num_steps, self.shift = num_steps, shift

    def __call__(self, velocity: Velocity, noise: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b l c i j"]:
        x = noise.to(torch.promote_types(noise.dtype, torch.float32))
        for sigma, after in pairwise(falling_levels(self.num_steps, self.shift, noise)):
            x = x + (after - sigma) * velocity(x, x.new_full((len(x),), sigma))
        return x
