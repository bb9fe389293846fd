import numpy as np
import pytest
import torch

from components.action_distributions.correlated import CorrelatedNoise
from components.action_distributions.gaussian import DiagonalCovariance, FullCovariance
from components.plan_costs import mean_over_time
from components.planners import Plan, Planner
from components.planners.cem import CEM
from tests.components.push_world import PushWorld

TARGET = torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.35, 0.0]])


def quadratic(actions):
    return (actions - TARGET).square().sum(dim=(1, 2))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def cem(std=(0.5, 0.5), kind=FullCovariance, **kwargs):
    return CEM(distribution=kind(std=list(std)), **kwargs)


class Recorder:
    """A cost that keeps what it was asked."""

    def __init__(self, cost):
        self.cost, self.asked = cost, []

    def __call__(self, actions):
        self.asked.append(actions.clone())
        return self.cost(actions)


def first_number(actions):
    return actions[:, 0, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [FullCovariance, DiagonalCovariance])
def test_a_quadratic_is_solved(kind, seed):
    planner = cem(kind=kind, num_actions=3, repeat=1, iterations=10, elites=30)
    assert isinstance(planner, Planner)
    plan = planner.plan(quadratic, generator=seeded(seed))
    assert (plan.actions - TARGET).abs().max() < 1e-2
    assert plan.cost == plan.best_costs[-1] < 1e-4
    assert len(plan.best_costs) == 10
    assert plan.best_costs[0] > plan.best_costs[-1]


def test_the_plan_is_the_best_candidate_of_the_last_iteration():
    calls = []

    def worse_each_time(actions):
        calls.append(actions)
        return quadratic(actions) + 100 * len(calls)

    plan = cem(num_actions=3, repeat=1).plan(worse_each_time, generator=seeded())
    costs = quadratic(calls[-1])
    assert torch.equal(plan.actions, calls[-1][costs.argmin()])
    assert plan.cost == pytest.approx(float(costs.min()) + 300)
    assert plan.best_costs == sorted(plan.best_costs)  # the best ever was in the first iteration


def test_of_equal_candidates_the_first():
    cost = Recorder(lambda actions: torch.zeros(len(actions)))
    plan = cem().plan(cost, generator=seeded())
    assert torch.equal(plan.actions, cost.asked[-1][0])


@pytest.mark.parametrize("batch_size", [1, 7, 64, 200, 1000])
def test_the_same_plan_for_any_batch_size(batch_size):
    cost = Recorder(lambda actions: (actions[:, :, 0] - 0.2).square().sum(dim=1))
    whole = cem().plan(cost.cost, generator=seeded(3))
    split = cem(batch_size=batch_size).plan(cost, generator=seeded(3))
    assert max(len(actions) for actions in cost.asked) <= batch_size
    assert sum(len(actions) for actions in cost.asked) == 600
    for one, other in zip(whole, split, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_chance_comes_from_the_generator_alone():
    torch.manual_seed(1)
    first = cem().plan(first_number, generator=seeded(5))
    torch.manual_seed(2)
    assert torch.equal(first.actions, cem().plan(first_number, generator=seeded(5)).actions)
    assert not torch.equal(first.actions, cem().plan(first_number, generator=seeded(6)).actions)


def test_actions_come_in_groups():
    cost = Recorder(first_number)
    plan = cem(num_actions=4, repeat=3).plan(cost, generator=seeded())
    for actions in [*cost.asked, plan.actions[None], plan.mean[None], plan.std[None]]:
        assert actions.shape[1:] == (12, 2)
        groups = actions.unflatten(1, (4, 3))
        assert torch.equal(groups, groups[:, :, :1].expand_as(groups))
    drawn = cost.asked[0][:, ::3]
    assert (drawn[:, 0] != drawn[:, 1]).all()


def test_what_is_fitted_is_one_of_each_group():
    cost = Recorder(first_number)
    plan = cem(num_actions=4, repeat=3, iterations=1, warm_start=False).plan(cost, generator=seeded())
    elites = cost.asked[0][first_number(cost.asked[0]).argsort()[:10], ::3].double()
    torch.testing.assert_close(plan.mean[::3].double(), elites.mean(dim=0), atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.std[::3].double(), elites.std(dim=0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [FullCovariance, DiagonalCovariance, CorrelatedNoise])
@pytest.mark.parametrize(("clip_stds", "reach"), [(2.0, (0.2, 0.9, 0.0)), (None, (0.9, 0.9, 0.0))])
def test_bounds_hold(kind, clip_stds, reach):
    cost = Recorder(lambda actions: -actions.sum(dim=(1, 2)))
    planner = cem((0.1, 3.0, 0.0), kind, clip_stds=clip_stds, low=-0.5, high=0.9, iterations=8)
    planner.plan(cost, generator=seeded())
    asked = torch.cat(cost.asked)
    high = torch.tensor(reach)
    assert (asked <= high + 1e-6).all()
    assert (asked >= -high.clamp(max=0.5) - 1e-6).all()
    assert not asked[..., 2].any()  # of std 0
    assert (asked[..., 1].max() - 0.9).abs() < 1e-6  # the bound is reached


@pytest.mark.parametrize(
    ("kwargs", "num_samples", "expected"),
    [
        ({}, 200, 10),
        ({"elite_fraction": 0.05}, 600, 30),
        ({"elite_fraction": 0.05}, 100, 10),
        ({"elites": 4, "elite_fraction": 0.1}, 50, 5),
    ],
)
def test_how_many_elites(kwargs, num_samples, expected):
    assert cem(**kwargs).num_elites(num_samples) == expected


def test_a_warm_start_begins_at_what_is_left():
    planner = cem(num_actions=5, repeat=3, warm_variance=0.0)
    plan = planner.plan(lambda actions: (actions - 0.6).square().sum(dim=(1, 2)), generator=seeded())
    cost = Recorder(first_number)
    planner.plan(cost, generator=seeded(1), warm=plan.after(4))  # 11 steps are left, from within an action
    first = cost.asked[0]
    assert first.shape == (100, 15, 2)
    left = plan.actions[4:][::3]  # 4 actions, the last of them cut short
    torch.testing.assert_close(first[:, ::3][:, :4], left.expand(100, 4, 2), atol=1e-6, rtol=0)
    new = first[:, 12]  # nothing is known of it
    assert new.mean(dim=0).abs().max() < 0.2
    assert new.std(dim=0).min() > 0.3


def test_a_warm_start_reduces_the_variance_of_all_but_the_last_action():
    planner = cem((0.5, 0.1), num_samples=20_000, iterations=1, clip_stds=None, low=-9.0, high=9.0)
    left = Plan(torch.full((15, 2), 0.2), 0.0, [0.0], torch.zeros(15, 2), torch.zeros(15, 2))
    cost = Recorder(first_number)
    planner.plan(cost, generator=seeded(), warm=left)
    variance = cost.asked[0][:, ::3].var(dim=0) / torch.tensor([0.25, 0.01])
    expected = torch.tensor([0.2] * 4 + [1.0])[:, None].expand(5, 2)
    torch.testing.assert_close(variance, expected, rtol=0.06, atol=0)
    torch.testing.assert_close(cost.asked[0].mean(dim=0), torch.full((15, 2), 0.2), atol=0.02, rtol=0)


def test_a_plan_that_is_used_up_says_nothing():
    planner = cem(warm_samples=1.0)
    plan = planner.plan(first_number, generator=seeded())
    used_up = planner.plan(first_number, generator=seeded(1), warm=plan.after(15))
    assert torch.equal(used_up.actions, planner.plan(first_number, generator=seeded(1)).actions)
    cold = cem(warm_start=False)
    warm = cold.plan(first_number, generator=seeded(1), warm=plan)
    assert torch.equal(warm.actions, cold.plan(first_number, generator=seeded(1)).actions)


def test_forbidden_candidates_are_avoided():
    def cost(actions):
        return torch.where(actions[:, 0, 0] > 0, torch.inf, actions[:, 0, 0].abs())

    plan = cem().plan(cost, generator=seeded())
    assert plan.actions[0, 0] <= 0
    assert plan.cost < 0.05


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_costs_that_say_nothing_are_told(value):
    with pytest.raises(ValueError, match="0 of 200 candidates have a finite cost"):
        cem().plan(lambda actions: torch.full((len(actions),), value), generator=seeded())


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"iterations": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"elites": 1}, "give 2 to 100"),
        ({"elites": 150}, "150 elites of 100 candidates"),
        ({"elite_fraction": 1.5}, "shares"),
        ({"low": 0.1}, "0 among them"),
        ({"clip_stds": 0.0}, "clip_stds"),
    ],
)
def test_numbers_out_of_range_are_refused(kwargs, told):
    with pytest.raises(ValueError, match=told):
        cem(**kwargs)


def final_distances(planner, worlds=range(20)):
    """How far the pushed object ends from its goal, 0.25 away at first, after one plan in each world."""
    ends = []
    for number in worlds:
        world = PushWorld(number)

        def cost(actions, world=world):
            return mean_over_time(torch.from_numpy(world.away(actions.double().numpy())), 10.0)

        plan = planner.plan(cost, generator=seeded(number))
        ends.append(world.away(plan.actions[None].double().numpy())[0, -1])
    return np.array(ends)


@pytest.fixture(scope="module")
def shot():
    return final_distances(cem(iterations=1, num_samples=600, warm_start=False))


@pytest.mark.parametrize("kind", [FullCovariance, DiagonalCovariance, CorrelatedNoise])
def test_pushes_further_than_random_shooting_of_as_many_candidates(kind, shot):
    fitted = final_distances(cem(kind=kind))
    assert fitted.mean() < 0.8 * shot.mean()
    assert (fitted < shot).mean() > 0.7
    assert shot.mean() < 0.15  # which is better than nothing


def test_correlated_noise_explores_further_than_white():
    """Without repeats, at equal candidates and an equal spread of each action after a while."""
    shoot = {"num_actions": 15, "repeat": 1, "iterations": 1, "num_samples": 600, "warm_start": False}
    white = final_distances(cem(**shoot))
    std = 0.5 * 3**0.5  # so that the recursion with beta 0.5 settles at 0.5
    noise = CorrelatedNoise(std=[std, std])
    smooth = final_distances(CEM(distribution=noise, clip_stds=None, **shoot))
    assert smooth.mean() < 0.8 * white.mean()
