"""Plan costs say how far a predicted future is from what is wanted; lower is better.

| name | compares | with | paper |
|---|---|---|---|
| goal_image | predicted frames | one picture | Visual Foresight |
| pixel_distance | where designated pixels are expected | where they should be | Visual Foresight |
| success | predicted frames | a few successes on other tables, by a classifier | few-shot goal inference |

Every predicted step counts, the last one more: a plan that arrives early and stays is better than one that
arrives by luck. Distributions of designated pixels come from a model that moves pixels, `SAVP.track`.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from components.success_classifiers import SuccessClassifier


@runtime_checkable
class PlanCost(Protocol):
    """A number for each of n predicted futures.

    needs_pixels: False where `predicted` are frames (n, t, c, h, w) in [0, 1] and `goal` one such picture
    (c, h, w); True where they are maps (n, t, p, h, w) of p designated pixels, each of sum 1, and `goal` is
    their places (p, 2), row and column.
    """

    needs_pixels: bool

    def __call__(
        self, predicted: Float[Tensor, "n t k h w"], goal: Float[Tensor, "..."]
    ) -> Float[Tensor, " n"]: ...


@runtime_checkable
class FewShotCost(PlanCost, Protocol):
    """A cost whose goal is what pictures of success on other tables say.

    classifier: where that of `network` is kept; whoever plans loads it, once.
    """

    classifier: str
    network: SuccessClassifier | None

    def goal_of(self, successes: Float[Tensor, "k 3 h w"]) -> Float[Tensor, " m"]:
        """The goal, of pictures in [0, 1] in which the task is done."""


def mean_over_time(costs: Float[Tensor, "n t"], final_weight: float) -> Float[Tensor, " n"]:
    """Weighted mean over predicted steps: 1 for each but the last, `final_weight` for the last.

    Source: Visual Foresight's official code, with final_weight 10; 100 where a classifier judges.
    """
    weights = torch.ones_like(costs[0])
    weights[-1] = final_weight
    return costs @ (weights / weights.sum())


def check_final_weight(final_weight: float) -> float:
    """Raises ValueError for a weight that is not positive."""
    if final_weight <= 0:
        raise ValueError(f"final_weight is {final_weight:g}; give more than 0, 1 = as every step")
    return final_weight
