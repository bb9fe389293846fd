"""Noise that is smooth in time, around a mean that the better elites pull harder."""

import torch
from jaxtyping import Float64
from torch import Tensor

from components.action_distributions import ActionGaussian
from components.action_distributions.gaussian import check_std, independent


class CorrelatedNoise:
    """u_0 = beta n_0, u_i = beta n_i + (1 - beta) u_{i-1} with n_i ~ N(0, std^2); the noise is never fitted.

    As u is linear in n, that is a Gaussian too. The mean is sum_e w_e a_e over elites, w_e proportional to
    exp(-kappa c_e): kappa counts in units of the cost, and costs that hardly differ give the plain mean.

    std: of each n_i.  beta: share of fresh noise in each action; 1 = white.  kappa: how much more a better
        elite counts.
    Raises ValueError for a std, beta or kappa out of range.
    Source: PDDM (arXiv 1909.11652), over elites alone as in Visual Foresight's official code, with beta
    0.5 and kappa 1; that code lets the noise of the last step into the first, here it begins at none.
    """

    def __init__(self, *, std: list[float], beta: float = 0.5, kappa: float = 1.0) -> None:
        if not 0 < beta <= 1 or kappa < 0:
            raise ValueError(f"beta is {beta:g}, kappa {kappa:g}; give beta in (0, 1] and kappa >= 0")
        self.std, self.beta, self.kappa = check_std(std), beta, kappa

    def initial(self, num_actions: int) -> ActionGaussian:
        mean, white = independent(self.std, num_actions)
        ages = torch.arange(num_actions)[:, None] - torch.arange(num_actions)
        filter_ = (self.beta * (1 - self.beta) ** ages.clamp(min=0)).double().tril()
        smooth = torch.kron(filter_, torch.eye(len(self.std), dtype=torch.float64))
        return ActionGaussian(mean, smooth @ white @ smooth.T)

    def refit(
        self, elites: Float64[Tensor, "k m a"], costs: Float64[Tensor, " k"], before: ActionGaussian
    ) -> ActionGaussian:
        weights = torch.softmax(-self.kappa * costs, dim=0)
        return ActionGaussian(torch.tensordot(weights, elites, dims=1), before.covariance)
