import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.action_distributions.gaussian import FullCovariance
from components.plan_costs import PlanCost, mean_over_time
from components.plan_costs.goal_image import GoalImage
from components.plan_costs.pixel_distance import PixelDistance, distances, maps_at
from components.planners.cem import CEM
from components.transformations.flow import Flow


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def one_hot(row, column, size=(9, 11)):
    image = torch.zeros(size)
    image[row, column] = 1
    return image


@given(horizon=st.integers(1, 20), final_weight=st.floats(0.1, 100))
def test_time_weights_are_normalised(horizon, final_weight):
    mean = mean_over_time(torch.full((2, horizon), 3.5), final_weight)
    torch.testing.assert_close(mean, torch.full((2,), 3.5))


def test_the_last_step_counts_ten_times():
    costs = torch.eye(5)  # each future has one step that costs
    expected = torch.tensor([1, 1, 1, 1, 10]) / 14
    torch.testing.assert_close(mean_over_time(costs, 10.0), expected)


def test_goal_image_is_the_weighted_squared_error():
    frames, goal = uniform(3, 4, 3, 6, 5), uniform(3, 6, 5, seed=1)
    cost = GoalImage()
    assert isinstance(cost, PlanCost)
    assert not cost.needs_pixels
    errors = torch.stack([torch.stack([((f - goal) ** 2).mean() for f in future]) for future in frames])
    expected = (errors[:, :3].sum(dim=1) + 10 * errors[:, 3]) / 13
    torch.testing.assert_close(cost(frames, goal), expected)
    assert not cost(goal.expand(2, 4, 3, 6, 5), goal).any()


def test_each_future_is_judged_on_its_own():
    frames, goal = uniform(5, 4, 3, 6, 5), uniform(3, 6, 5, seed=1)
    apart = torch.cat([GoalImage()(future[None], goal) for future in frames])
    torch.testing.assert_close(GoalImage()(frames, goal), apart, atol=1e-7, rtol=0)


def test_goals_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"frames are \(3, 6, 5\), the goal is \(3, 6, 4\)"):
        GoalImage()(uniform(1, 2, 3, 6, 5), uniform(3, 6, 4))
    with pytest.raises(ValueError, match="2 designated pixels have 1 goals"):
        PixelDistance()(uniform(1, 2, 2, 6, 5), torch.zeros(1, 2))
    for cost in (GoalImage, PixelDistance):
        with pytest.raises(ValueError, match="final_weight is 0"):
            cost(final_weight=0.0)


def test_a_pixel_at_its_goal_costs_nothing_elsewhere_its_distance():
    cost = PixelDistance()
    assert isinstance(cost, PlanCost)
    assert cost.needs_pixels
    at_goal, elsewhere = (one_hot(*place).expand(1, 4, 1, 9, 11) for place in [(2, 7), (5, 3)])
    goal = torch.tensor([[2.0, 7.0]])
    assert cost(at_goal, goal) == 0
    torch.testing.assert_close(cost(elsewhere, goal), torch.tensor([5.0]))


def test_an_even_distribution_costs_the_mean_distance():
    goal = torch.tensor([[2.0, 7.5]])
    even = torch.full((1, 3, 1, 9, 11), 1 / 99)
    expected = sum(((r - 2) ** 2 + (c - 7.5) ** 2) ** 0.5 for r in range(9) for c in range(11)) / 99
    torch.testing.assert_close(PixelDistance()(even, goal), torch.tensor([expected]))
    torch.testing.assert_close(distances(9, 11, goal).mean(), torch.tensor(expected))


def test_expected_distances_are_means_over_pixels_and_weighted_over_time():
    maps = uniform(3, 4, 2, 9, 11)
    maps = maps / maps.sum(dim=(3, 4), keepdim=True)
    goals = torch.tensor([[2.0, 7.0], [8.0, 0.0]])
    steps = (maps * distances(9, 11, goals)).sum(dim=(3, 4)).mean(dim=2)
    expected = (steps[:, :3].sum(dim=1) + 10 * steps[:, 3]) / 13
    torch.testing.assert_close(PixelDistance()(maps, goals), expected)
    apart = [PixelDistance()(maps[:, :, [i]], goals[[i]]) for i in range(2)]
    torch.testing.assert_close(PixelDistance()(maps, goals), (apart[0] + apart[1]) / 2)


@given(row=st.floats(0, 8), column=st.floats(0, 10))
def test_a_map_of_a_place_sums_to_one_and_has_it_as_its_mean(row, column):
    (place,) = maps_at(torch.tensor([[row, column]]), 9, 11)
    assert place.sum().item() == pytest.approx(1, abs=1e-5)
    rows, columns = torch.arange(9.0), torch.arange(11.0)
    assert (place.sum(1) @ rows).item() == pytest.approx(row, abs=1e-4)
    assert (place.sum(0) @ columns).item() == pytest.approx(column, abs=1e-4)
    assert (place > 0).sum() <= 4


def test_a_place_out_of_sight_is_put_on_the_border_and_any_number_of_them_go_together():
    maps = maps_at(torch.tensor([[[-3.0, 4.0], [2.0, 11.5]], [[20.0, 0.0], [5.0, 7.0]]]), 9, 11)
    assert maps.shape == (2, 2, 9, 11)
    expected = [one_hot(*place) for place in [(0, 4), (2, 10), (8, 0), (5, 7)]]
    torch.testing.assert_close(maps.flatten(0, 1), torch.stack(expected))


def test_a_pixel_is_planned_to_its_goal_through_flow():
    """Actions are the flow itself: maps moved by a transformation, judged by where they end."""
    flow = Flow(bottleneck_shape=(1, 1, 1), feature_channels=1)
    start, goal = one_hot(4, 3), torch.tensor([[6.0, 8.0]])

    def cost(actions):
        maps, steps = start.expand(len(actions), 1, 9, 11), []
        for action in actions.unbind(1):
            behind = (-action)[:, None, :, None, None]  # where each pixel is fetched from
            motion = behind.expand(-1, 1, 2, 9, 11)
            maps = flow.warp(maps, motion)[:, 0]
            steps.append(maps)
        whole = maps.sum(dim=(1, 2, 3)) > 0.99  # else it was pushed out of sight
        return torch.where(whole, PixelDistance()(torch.stack(steps, dim=1), goal), torch.inf)

    assert cost(torch.zeros(1, 3, 2)) == pytest.approx(29**0.5, abs=1e-4)  # no flow, no motion
    planner = CEM(
        distribution=FullCovariance(std=[1.5, 1.5]), num_actions=3, repeat=2, iterations=4, low=-3.0, high=3.0
    )
    plan = planner.plan(cost, generator=torch.Generator().manual_seed(0))
    assert (plan.actions.sum(dim=0) - torch.tensor([5.0, 2.0])).abs().max() < 1.0
