"""The cross-entropy method: draw action sequences, keep the best, fit a distribution to them, draw again."""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from components.action_distributions import ActionDistribution, ActionGaussian
from components.planners import Cost, Plan


class CEM:
    """Visual Foresight's planner; with one iteration it is random shooting.

    A candidate is `num_actions` actions, each done `repeat` times: a horizon of num_actions * repeat steps.
    The best candidate of the last iteration is the plan: not the mean, which nobody predicted, and not the
    best ever, which mostly owes its cost to chance in a stochastic model.

    distribution: what candidates are drawn from, and how it is fitted to the elites.
    elites, elite_fraction: of N candidates the max(int(elite_fraction * N), elites) cheapest are kept.
    low, high: of every number of an action.  clip_stds: nor does a number leave 0 by more than so many of its
        initial standard deviations; None = no such bound.
    warm_start: begin at what is left of the plan before, with `warm_variance` of the initial variance for
        actions it had, but for the last action, and with `warm_samples` of the candidates.
    batch_size: candidates whose cost is asked for at a time, None = all; the plan is the same.

    Raises ValueError for numbers out of range and when no candidate has a finite cost or one has none.
    Source: Visual Foresight (arXiv 1812.00568), as in its official code: 5 actions done 3 times, 3 iterations
    of 200 candidates, 10 elites; 600 candidates and a fraction of 0.05 for designated pixels. Warm start of
    the registration runs: 0.2 of the variance, half the candidates. There, variances are also reduced for
    actions that the plan before did not reach; here these are as free as at the beginning.
    """

    def __init__(
        self,
        *,
        distribution: ActionDistribution,
        num_actions: int = 5,
        repeat: int = 3,
        iterations: int = 3,
        num_samples: int = 200,
        elites: int = 10,
        elite_fraction: float = 0.0,
        low: float = -1.0,
        high: float = 1.0,
        clip_stds: float | None = 2.0,
        warm_start: bool = True,
        warm_samples: float = 0.5,
        warm_variance: float = 0.2,
        batch_size: int | None = None,
    ) -> None:
        if min(num_actions, repeat, iterations) < 1 or (batch_size is not None and batch_size < 1):
            told = f"{num_actions} actions, repeat {repeat}, {iterations} iterations, batch_size {batch_size}"
            raise ValueError(f"CEM has {told}; give at least 1 of each")
        if not (0 <= elite_fraction <= 1 and 0 < warm_samples <= 1 and 0 <= warm_variance <= 1):
            told = f"{elite_fraction:g}, {warm_samples:g} and {warm_variance:g}"
            raise ValueError(f"CEM's elite_fraction, warm_samples and warm_variance are shares, not {told}")
        if not (low <= 0 <= high and low < high):
            raise ValueError(f"CEM's actions lie between low {low:g} and high {high:g}, with 0 among them")
        if clip_stds is not None and clip_stds <= 0:
            raise ValueError(f"CEM's clip_stds is {clip_stds:g}; give more than 0, or null for no such bound")
        fewest = int(warm_samples * num_samples) if warm_start else num_samples
        if not 2 <= elites <= fewest:
            raise ValueError(f"CEM keeps {elites} elites of {fewest} candidates; give 2 to {fewest}")
        self.distribution = distribution
        self.num_actions, self.repeat, self.iterations = num_actions, repeat, iterations
        self.num_samples, self.elites, self.elite_fraction = num_samples, elites, elite_fraction
        self.warm_start, self.warm_samples, self.warm_variance = warm_start, warm_samples, warm_variance
        self.batch_size = batch_size
        stds = math.inf if clip_stds is None else clip_stds
        reach = torch.tensor([std * stds if std else 0.0 for std in distribution.std], dtype=torch.float64)
        self.low, self.high = (-reach).clamp(min=low), reach.clamp(max=high)

    @torch.no_grad()
    def plan(self, cost: Cost, *, generator: torch.Generator, warm: Plan | None = None) -> Plan:
        gaussian, n = self.distribution.initial(self.num_actions), self.num_samples
        if warm is not None and self.warm_start:
            gaussian, n = self._warmed(gaussian, warm), int(self.warm_samples * n)
        best_costs = []
        for _ in range(self.iterations):
            noise = torch.randn(n, *gaussian.mean.shape, generator=generator, device=generator.device)
            drawn = gaussian.transform(noise.cpu().double()).clamp(self.low, self.high)
            candidates = self._steps(drawn).to(generator.device, torch.float32)
            costs = self._costs(cost, candidates)
            order = costs.argsort(stable=True)  # of equals the first
            elites = order[: self.num_elites(n)]
            gaussian = self.distribution.refit(drawn[elites], costs[elites], gaussian)
            best_costs.append(float(costs[order[0]]))
        return Plan(
            actions=candidates[order[0]],
            cost=best_costs[-1],
            best_costs=best_costs,
            mean=self._steps(gaussian.mean[None])[0].to(candidates),
            std=self._steps(gaussian.std[None])[0].to(candidates),
        )

    def num_elites(self, num_samples: int) -> int:
        """How many of so many candidates are kept."""
        return max(int(self.elite_fraction * num_samples), self.elites)

    def _steps(self, actions: Float64[Tensor, "n m a"]) -> Float64[Tensor, "n t a"]:
        return actions.repeat_interleave(self.repeat, dim=1)

    def _costs(self, cost: Cost, candidates: Float[Tensor, "n t a"]) -> Float64[Tensor, " n"]:
        parts = candidates.split(self.batch_size or len(candidates))
        costs = torch.cat([cost(part) for part in parts]).cpu().double()
        if costs.isnan().any() or costs.min().isinf():
            told = f"{int(costs.isfinite().sum())} of {len(costs)} candidates have a finite cost"
            raise ValueError(f"CEM needs a cost of every candidate, +inf to forbid some but not all; {told}")
        return costs

    def _warmed(self, initial: ActionGaussian, warm: Plan) -> ActionGaussian:
        """The plan before as the mean, 0 where it does not reach; less variance for what it had."""
        known = warm.actions.cpu().double()[:: self.repeat][: self.num_actions]
        mean = torch.zeros_like(initial.mean)
        mean[: len(known)] = known
        scale = torch.ones_like(mean)
        scale[: min(len(known), self.num_actions - 1)] = math.sqrt(self.warm_variance)
        scale = scale.flatten()
        return ActionGaussian(mean, initial.covariance * scale[:, None] * scale)
