import pytest
import torch

from components.action_distributions import ActionDistribution, ActionGaussian
from components.action_distributions.correlated import CorrelatedNoise
from components.action_distributions.gaussian import DiagonalCovariance, FullCovariance

STD = [0.5, 0.2, 0.0]
ALL = [FullCovariance(std=STD), DiagonalCovariance(std=STD), CorrelatedNoise(std=STD)]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("distribution", ALL)
def test_all_keep_the_contract(distribution):
    assert isinstance(distribution, ActionDistribution)
    initial = distribution.initial(4)
    assert not initial.mean.any()
    assert initial.covariance.shape == (12, 12)
    fitted = distribution.refit(normal(10, 4, 3), normal(10, seed=1), initial)
    assert torch.linalg.eigvalsh(fitted.covariance).min() > -1e-12


@pytest.mark.parametrize("distribution", ALL[:2])
def test_independent_actions_at_first(distribution):
    noise = normal(50, 4, 3)
    drawn = distribution.initial(4).transform(noise)
    torch.testing.assert_close(drawn, noise * torch.tensor(STD), atol=1e-7, rtol=0)


def test_full_covariance_is_that_of_the_elites():
    elites, full = normal(10, 5, 3), ALL[0]
    fitted = full.refit(elites, torch.zeros(10).double(), full.initial(5))
    flat = elites.flatten(1)
    torch.testing.assert_close(fitted.covariance, torch.cov(flat.T), atol=0, rtol=0)
    torch.testing.assert_close(fitted.mean.flatten(), flat.mean(dim=0), atol=1e-15, rtol=0)
    torch.testing.assert_close(fitted.std.flatten(), flat.std(dim=0))


def test_diagonal_is_the_diagonal_of_the_full_one():
    elites, costs = normal(10, 5, 3), torch.zeros(10).double()
    full, diagonal = (d.refit(elites, costs, d.initial(5)).covariance for d in ALL[:2])
    torch.testing.assert_close(diagonal, full.diagonal().diag(), atol=1e-15, rtol=0)


@pytest.mark.parametrize("kind", [FullCovariance, DiagonalCovariance])
def test_smoothing_mixes_with_the_covariance_before(kind):
    elites, costs = normal(10, 4, 3), torch.zeros(10).double()
    plain, smooth = kind(std=STD), kind(std=STD, smoothing=0.25)
    before = plain.initial(4)
    new = plain.refit(elites, costs, before).covariance
    mixed = smooth.refit(elites, costs, before)
    torch.testing.assert_close(mixed.covariance, 0.75 * new + 0.25 * before.covariance)


@pytest.mark.parametrize("kind", [FullCovariance, DiagonalCovariance])
def test_identical_elites_leave_one_candidate(kind):
    elite, distribution = normal(1, 4, 3), kind(std=STD)
    fitted = distribution.refit(elite.expand(10, 4, 3), torch.zeros(10).double(), distribution.initial(4))
    torch.testing.assert_close(fitted.transform(normal(20, 4, 3, seed=1)), elite.expand(20, 4, 3))


def test_candidates_have_the_mean_and_covariance_they_are_drawn_from():
    root = normal(6, 6)
    gaussian = ActionGaussian(normal(3, 2, seed=1), root @ root.T)
    flat = gaussian.transform(normal(200_000, 3, 2, seed=2)).flatten(1)
    torch.testing.assert_close(flat.mean(dim=0), gaussian.mean.flatten(), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(flat.T), gaussian.covariance, atol=0.15, rtol=0)


def test_candidates_of_few_elites_stay_among_them():
    elites, full = normal(4, 5, 3), ALL[0]
    fitted = full.refit(elites, torch.zeros(4).double(), full.initial(5))
    apart = (fitted.transform(normal(30, 5, 3, seed=1)) - fitted.mean).flatten(1)
    spanned = (elites - fitted.mean).flatten(1)
    assert torch.linalg.matrix_rank(torch.cat([spanned, apart]), atol=1e-6) == 3


def test_correlated_noise_is_the_recursion():
    std, beta = torch.tensor(STD).double(), 0.3
    gaussian = CorrelatedNoise(std=STD, beta=beta).initial(6)
    white = normal(200_000, 6, 3) * std
    last, steps = torch.zeros(200_000, 3).double(), []
    for n in white.unbind(1):
        last = beta * n + (1 - beta) * last
        steps.append(last)
    expected = torch.cov(torch.stack(steps, dim=1).flatten(1).T)
    torch.testing.assert_close(gaussian.covariance, expected, atol=2e-3, rtol=0)


def test_white_correlated_noise_is_independent():
    white = CorrelatedNoise(std=STD, beta=1.0).initial(4)
    assert torch.equal(white.covariance, ALL[0].initial(4).covariance)


def test_better_elites_pull_the_correlated_mean_harder():
    elites, costs = normal(5, 4, 3), torch.tensor([3.0, 0.5, 1.0, 2.0, 0.7], dtype=torch.float64)
    noise = CorrelatedNoise(std=STD, kappa=2.0)
    fitted = noise.refit(elites, costs, noise.initial(4))
    weights = torch.exp(2.0 * (-costs - (-costs).max()))
    expected = (weights[:, None, None] * elites).sum(dim=0) / weights.sum()
    torch.testing.assert_close(fitted.mean, expected)
    assert torch.equal(fitted.covariance, noise.initial(4).covariance)
    sharp = CorrelatedNoise(std=STD, kappa=1e4)
    torch.testing.assert_close(sharp.refit(elites, costs, noise.initial(4)).mean, elites[1])


@pytest.mark.parametrize("std", [[], [-0.1, 1.0], [0.0, 0.0]])
def test_a_std_that_draws_nothing_is_refused(std):
    for kind in (FullCovariance, DiagonalCovariance, CorrelatedNoise):
        with pytest.raises(ValueError, match="one for each number of an action"):
            kind(std=std)


def test_shares_out_of_range_are_refused():
    for kind in (FullCovariance, DiagonalCovariance):
        with pytest.raises(ValueError, match="smoothing is 1"):
            kind(std=STD, smoothing=1.0)
    with pytest.raises(ValueError, match="beta is 0"):
        CorrelatedNoise(std=STD, beta=0.0)
