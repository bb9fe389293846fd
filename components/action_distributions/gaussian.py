"""Gaussians that are fitted to the elites, with or without the covariance between actions."""

import torch
from jaxtyping import Float64
from torch import Tensor

from components.action_distributions import ActionGaussian


def independent(std: list[float], num_actions: int) -> ActionGaussian:
    """Mean 0, every action alike, nothing correlated."""
    row = torch.tensor(std, dtype=torch.float64)
    return ActionGaussian(
        mean=row.new_zeros(num_actions, len(row)), covariance=row.square().repeat(num_actions).diag()
    )


def check_std(std: list[float]) -> list[float]:
    """Raises ValueError for no std, for a negative one, and where all are 0."""
    if not std or min(std) < 0 or max(std) == 0:
        raise ValueError(f"std is {std}; give one for each number of an action, 0 or more, not all 0")
    return std


class FullCovariance:
    """Mean and unbiased covariance of the elites, over all actions of a sequence together.

    So a push that must first go around an object stays one idea: what the elites do late follows from what
    they do early. k elites span k - 1 directions and candidates drawn of them stay therein, so few elites end
    too early over many iterations: 10 iterations on a quadratic of 6 numbers left an error of up to 0.15 with
    10 elites of 200 candidates, of 0.002 with 30.

    std: of each number of an action at first.  smoothing: share of the covariance before that stays.
    Raises ValueError for a std or a smoothing out of range.
    Source: Visual Foresight's official code; std there 0.05 m in x and y, 0.15 m in z,
    10 degrees of yaw and 2 for the gripper; for rigid objects 0.035 m and 0.08 m. Smoothing, where on, 0.5.
    """

    def __init__(self, *, std: list[float], smoothing: float = 0.0) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing:g}; give 0 or more, less than 1")
        self.std, self.smoothing = check_std(std), smoothing

    def initial(self, num_actions: int) -> ActionGaussian:
        return independent(self.std, num_actions)

    def refit(
        self, elites: Float64[Tensor, "k m a"], costs: Float64[Tensor, " k"], before: ActionGaussian
    ) -> ActionGaussian:
        fitted = torch.cov(elites.flatten(1).T)
        return ActionGaussian(elites.mean(dim=0), fitted.lerp(before.covariance, self.smoothing))


class DiagonalCovariance:
    """Mean and unbiased variance of the elites, number by number.

    std: of each number of an action at first.  smoothing: share of the variance before that stays.
    Raises ValueError for a std or a smoothing out of range.
    """

    def __init__(self, *, std: list[float], smoothing: float = 0.0) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing:g}; give 0 or more, less than 1")
        self.std, self.smoothing = check_std(std), smoothing

    def initial(self, num_actions: int) -> ActionGaussian:
        return independent(self.std, num_actions)

    def refit(
        self, elites: Float64[Tensor, "k m a"], costs: Float64[Tensor, " k"], before: ActionGaussian
    ) -> ActionGaussian:
        fitted = elites.flatten(1).var(dim=0).diag()
        return ActionGaussian(elites.mean(dim=0), fitted.lerp(before.covariance, self.smoothing))
