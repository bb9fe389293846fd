"""UniPC for flow matching: a predictor and a corrector of high order at one velocity a step."""

from collections import deque
from math import expm1, factorial, log
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from components.flow_path import Velocity, denoised
from components.flow_samplers import falling_levels
from components.shifts import Shift

TERMS = 60  # of a series that has long converged then


class UniPC:
    """A multistep solver that extrapolates estimates m = x - sigma v of the latents in -log sigma.

    Each step predicts x at the next level from the last `order` estimates, asks for the velocity there, and
    corrects x with it. The answer is the last estimate: level 0 itself is never asked.
    num_steps: steps, with a velocity each.  shift: of the levels.
    order: 3 in FramePack; the first steps, with fewer estimates, have less.
    scale: B(h) of the paper, h (bh1) or e^h - 1 (bh2).  corrector: off, the predictor goes alone.
    Raises ValueError unless order >= 1.
    Source: UniPC (arXiv 2302.04867), data prediction, as in FramePack's flow sampler; not diffusers'
    scheduler of that name, whose variable is log((1 - sigma) / sigma).
    """

    def __init__(
        self,
        *,
        num_steps: int,
        shift: Shift,
        order: int = 3,
        scale: Literal["bh1", "bh2"] = "bh1",
        corrector: bool = True,
    ) -> None:
        if order < 1:
            raise ValueError(f"a solver needs order >= 1; order is {order}")
        self.num_steps, self.shift, self.order = num_steps, shift, order
        self.scale, self.corrector = scale, corrector

    def __call__(self, velocity: Velocity, noise: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b l c i j"]:
        levels = falling_levels(self.num_steps, self.shift, noise)
        x = noise.to(torch.promote_types(noise.dtype, torch.float32))

        def estimate(x: Tensor, sigma: float) -> Tensor:
            sigmas = x.new_full((len(x),), sigma)
            return denoised(x, velocity(x, sigmas), sigmas)

        estimates = deque([estimate(x, levels[0])], maxlen=self.order)  # the newest comes last
        for i in range(1, self.num_steps):
            step = _step(levels[i - len(estimates) : i + 1], self.scale)
            newest = estimates[-1]
            base = step.keep * x + step.pull * newest
            slopes = [(older - newest) / ratio for older, ratio in zip(estimates, step.ratios, strict=False)]
            predicted = base
            for slope, rho in zip(slopes, step.predictor, strict=True):
                predicted = predicted + rho * slope
            estimates.append(estimate(predicted, levels[i]))
            x = predicted
            if self.corrector:
                x = base
                for slope, rho in zip([*slopes, estimates[-1] - newest], step.corrector, strict=True):
                    x = x + rho * slope
        return estimates[-1]


class _Step(NamedTuple):
    """x at the new level = keep * x + pull * newest estimate + sum of coefficients * slopes.

    ratios: places of the older estimates, oldest first, as shares of the step.
    """

    keep: float
    pull: float
    ratios: list[float]
    predictor: list[float]
    corrector: list[float]


def _step(levels: list[float], scale: str) -> _Step:
    """Coefficients of a step to the last of the levels, with estimates at all the others."""
    *known, sigma, after = levels
    h = log(after / sigma)  # minus the step in -log sigma
    ratios = [log(level / sigma) / h for level in known]
    factor = expm1(h) if scale == "bh2" else h
    b = [_phi(h, k) * factorial(k) / factor for k in range(1, len(levels))]
    predictor = [0.5] if len(ratios) == 1 else _weights(ratios, b)
    corrector = [0.5] if not ratios else _weights([*ratios, 1.0], b)
    return _Step(
        keep=after / sigma,
        pull=-expm1(h),
        ratios=ratios,
        predictor=[-factor * rho for rho in predictor],
        corrector=[-factor * rho for rho in corrector],
    )


def _phi(h: float, k: int) -> float:
    """sum_{m >= 1} h^m / (m + k)!.

    It obeys phi_1 = (e^h - 1) / h - 1 and phi_{k+1} = phi_k / h - 1 / (k + 1)!, a recursion that loses all
    digits for short steps.
    """
    return sum(h**m / factorial(m + k) for m in range(1, TERMS))


def _weights(ratios: list[float], b: list[float]) -> list[float]:
    """rho with sum_j ratio_j^k rho_j = b_k for k = 0, ..., one for each ratio."""
    if not ratios:
        return []
    places = torch.tensor(ratios, dtype=torch.float64)
    powers = torch.stack([places**k for k in range(len(ratios))])
    return torch.linalg.solve(powers, torch.tensor(b[: len(ratios)], dtype=torch.float64)).tolist()
