"""Planners look for the actions whose consequences cost least.

| name | candidates are drawn | paper |
|---|---|---|
| random_shooting | once, all from one distribution | - |
| cem | again and again, from a distribution fitted to the best ones | Visual Foresight |

A planner knows nothing of models and frames: it is given a cost of action sequences, many at a time. What it
draws from is a component of its own, `components.action_distributions`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Cost = Callable[[Float[Tensor, "n t a"]], Float[Tensor, " n"]]


class Plan(NamedTuple):
    """Actions to carry out, and how they were found.

    actions: the best candidate of the last iteration.  cost: of them, for the whole horizon.
    best_costs: the lowest cost of each iteration.
    mean, std: of the distribution fitted last; a std near 0 says that the planner has made up its mind.
    """

    actions: Float[Tensor, "t a"]
    cost: float
    best_costs: list[float]
    mean: Float[Tensor, "t a"]
    std: Float[Tensor, "t a"]

    def after(self, executed: int) -> "Plan":
        """What is left when so many actions have been carried out: where the next planning can begin."""
        return self._replace(
            actions=self.actions[executed:], mean=self.mean[executed:], std=self.std[executed:]
        )


@runtime_checkable
class Planner(Protocol):
    """Find a sequence of actions of low cost.

    cost: of n action sequences; lower is better, +inf forbids one. It must judge each on its own.
    generator: the only source of chance; actions are made on its device, in float32.
    warm: what is left of the plan before, `plan.after(executed)`; None begins anew.
    """

    def plan(self, cost: Cost, *, generator: torch.Generator, warm: Plan | None = None) -> Plan: ...
