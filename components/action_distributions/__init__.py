"""Action distributions: where a planner draws action sequences from, and how the best ones change it.

| name | at first | fitted to the elites | paper |
|---|---|---|---|
| full | independent | mean and covariance of all actions together | Visual Foresight |
| diagonal | independent | mean and variance of each number | CEM as most libraries have it |
| correlated | each action leans on the last | weighted mean alone | PDDM, in Visual Foresight's code |

All are Gaussians over the actions of a sequence taken together; they differ in the first covariance and in
what is fitted.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float64
from torch import Tensor


class ActionGaussian(NamedTuple):
    """A Gaussian over sequences of m actions of a numbers, in float64 on the CPU, for it is small.

    covariance: of d = m * a numbers, action by action; it may lack rank, as one of few elites does.
    """

    mean: Float64[Tensor, "m a"]
    covariance: Float64[Tensor, "d d"]

    @property
    def std(self) -> Float64[Tensor, "m a"]:
        return self.covariance.diagonal().sqrt().view_as(self.mean)

    def transform(self, noise: Float64[Tensor, "n m a"]) -> Float64[Tensor, "n m a"]:
        """Sequences of this distribution from standard normal noise.

        By the symmetric root of the covariance, which is unique: no sign or order of eigenvectors, which a
        library is free to choose, gets into a plan.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return self.mean + (noise.flatten(1) @ root).view_as(noise)


@runtime_checkable
class ActionDistribution(Protocol):
    """std: of each of the a numbers of an action before anything is known."""

    std: list[float]

    def initial(self, num_actions: int) -> ActionGaussian:
        """Before any cost is known: mean 0."""

    def refit(
        self, elites: Float64[Tensor, "k m a"], costs: Float64[Tensor, " k"], before: ActionGaussian
    ) -> ActionGaussian:
        """After the elites' costs are known; `before` is what they were drawn from."""
