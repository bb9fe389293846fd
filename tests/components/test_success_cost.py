import pytest
import torch

from components.plan_costs import FewShotCost, PlanCost
from components.plan_costs.goal_image import GoalImage
from components.plan_costs.success import Success
from components.success_classifiers.few_shot import FewShotClassifier


def loaded(**settings):
    torch.manual_seed(0)
    cost = Success(classifier="runs/some", **settings)
    cost.network = FewShotClassifier(widths=(3,), strides=(2,), dim=4, temperature=0.2)
    return cost


def frames(*shape, seed=0):
    return torch.rand(*shape, 3, 6, 5, generator=torch.Generator().manual_seed(seed))


def test_the_cost_is_minus_the_log_of_success_and_the_last_frame_counts_a_hundred_times():
    cost, shown, predicted = loaded(), frames(5), frames(4, 3, seed=1)
    found = cost(predicted, cost.goal_of(shown))
    adapted = cost.network.adapted(shown)
    for future, value in zip(predicted, found, strict=True):
        likely = cost.network.logits(future, adapted).softmax(1)[:, 1]
        steps = -torch.log(likely + 1e-5)
        torch.testing.assert_close(value, (steps[0] + steps[1] + 100 * steps[2]) / 102)
    even = loaded(final_weight=1.0)
    likely = even.network.logits(predicted[0], adapted).softmax(1)[:, 1]
    expected = -torch.log(likely + 1e-5).mean()
    torch.testing.assert_close(even(predicted, even.goal_of(shown))[0], expected)


def test_what_is_surely_no_success_costs_a_bounded_amount():
    cost = loaded()
    with torch.no_grad():
        cost.network.head[2].bias.copy_(torch.tensor([200.0, -200.0]))
    goal = torch.cat([weight.flatten() for weight in cost.network.weights().values()])
    expected = -torch.log(torch.full((2,), 1e-5))
    torch.testing.assert_close(cost(frames(2, 3), goal), expected)


def test_the_goal_is_a_vector_without_gradients_and_tells_tasks_apart():
    cost = loaded()
    goals = [cost.goal_of(frames(5, seed=seed)) for seed in (0, 1)]
    assert goals[0].shape == (sum(weight.numel() for weight in cost.network.parameters()),)
    assert not goals[0].requires_grad
    predicted = frames(2, 3, seed=2)
    assert not torch.equal(*(cost(predicted, goal) for goal in goals))


def test_it_is_a_cost_that_learns_its_goal_and_others_are_not():
    assert isinstance(loaded(), PlanCost)
    assert isinstance(loaded(), FewShotCost)
    assert not loaded().needs_pixels
    assert not isinstance(GoalImage(), FewShotCost)


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="final_weight is 0"):
        Success(classifier="runs/some", final_weight=0.0)
    with pytest.raises(ValueError, match="has not loaded runs/some"):
        Success(classifier="runs/some").goal_of(frames(5))
