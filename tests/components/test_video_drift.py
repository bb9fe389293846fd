import math

import pytest
import torch

from components.metrics.absolute_difference import absolute_difference
from components.metrics.motion_amount import MotionAmount
from components.metrics.rollout_cost import RolloutCost
from components.metrics.spread import Spread
from components.metrics.start_end_delta import StartEndDelta
from components.metrics.video_drift_error import (
    VideoDriftError,
    chunk_scores,
    late,
    linear,
    logarithmic,
    video_drift_error,
)
from components.metrics.video_scores import colour, sharpness, smoothness


def grey(levels) -> torch.Tensor:
    """(b, t) grey levels as videos of flat 16x16 frames."""
    levels = torch.stack([torch.as_tensor(row, dtype=torch.float32) for row in levels])
    return levels[..., None, None, None].expand(-1, -1, 3, 16, 16)


def brightness(video):
    return video.mean(dim=(1, 2, 3, 4))


def test_vde_of_constant_scores_is_zero():
    scores = torch.full((2, 10), 0.7)
    for weights in (linear, logarithmic, late):
        assert torch.all(video_drift_error(scores, weights) == 0)


def test_vde_is_the_unnormalised_sum_with_falling_weights():
    scores = torch.ones(3, 10, dtype=torch.float64)
    scores[0, 1] = 1.1  # the second chunk weighs 9
    scores[1, 9] = 2.0  # the last weighs 1, and nothing by logarithm
    scores[2, 1:] = 3.0
    torch.testing.assert_close(video_drift_error(scores), torch.tensor([0.9, 1.0, 90.0]).double())
    by_logarithm = torch.tensor([0.1 * math.log(9), 0.0, 2 * math.lgamma(10)]).double()
    torch.testing.assert_close(video_drift_error(scores, logarithmic), by_logarithm)
    torch.testing.assert_close(video_drift_error(scores, late), torch.tensor([0.1, 9.0, 90.0]).double())


def test_vde_edge_cases():
    scores = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    for weights in (linear, logarithmic):
        assert torch.all(video_drift_error(scores, weights) == torch.inf)
    assert torch.all(video_drift_error(torch.tensor([[0.0], [2.0]])) == 0)
    with pytest.raises(ValueError, match="at least 10 frames"):
        chunk_scores(grey([[0.5] * 9]), brightness)


def test_chunks_are_equal_and_the_rest_is_dropped():
    scores = chunk_scores(grey([torch.arange(25) / 25]), brightness)
    torch.testing.assert_close(scores[0], (torch.arange(10) * 2 + 0.5) / 25)


def test_vde_of_a_set_is_the_mean_and_counts_infinite_ones():
    levels = torch.rand(6, 20, generator=torch.Generator().manual_seed(0)) + 0.1
    expected = video_drift_error(chunk_scores(grey(levels), brightness))
    levels[4, :2] = 0
    one, other = (VideoDriftError(score=brightness) for _ in range(2))
    one.update(grey(levels[:2]))
    other.update(grey(levels[2:]))
    one.merge_state(other)
    kept = torch.tensor([0, 1, 2, 3, 5])
    torch.testing.assert_close(one.compute(), expected[kept].mean())
    assert one.infinite() == 1
    by_late = video_drift_error(chunk_scores(grey(levels[kept]), brightness), late).mean()
    torch.testing.assert_close(one.weighted(late), by_late)
    black = VideoDriftError(score=brightness)
    black.update(grey([[0.0] * 10]))
    assert black.compute() == torch.inf


def test_scores_of_known_pictures():
    flat = grey([[0.3] * 4])
    assert sharpness(flat).item() == 0
    assert smoothness(flat).item() == 1
    assert colour(flat).item() == pytest.approx(0, abs=1e-6)
    checkers = flat.clone()
    checkers[..., ::2, ::2] = checkers[..., 1::2, 1::2] = 0.5
    blurred = (checkers + checkers.roll(1, dims=-1)) / 2
    assert sharpness(checkers) > sharpness(blurred)
    assert smoothness(grey([[0.0, 0.1, 0.2, 0.3, 0.4]])).item() == pytest.approx(1)
    assert smoothness(grey([[0.0, 0.4, 0.0]])).item() == pytest.approx(0.6)
    red = torch.zeros(1, 2, 3, 16, 16)
    red[:, :, 0] = 1
    assert colour(red).item() == pytest.approx(0.3 * math.sqrt(1 + 0.25))
    with pytest.raises(ValueError, match="at least 3 frames"):
        smoothness(flat[:, :2])


def test_start_end_delta_of_a_ramp():
    predicted = grey([torch.arange(20) / 20, torch.arange(19, -1, -1) / 20])
    truth = torch.zeros_like(predicted)
    metric = StartEndDelta(function=absolute_difference, horizon=20)  # 15 % are 3 frames
    metric.update(predicted, truth)
    assert metric.compute().item() == pytest.approx(17 / 20)  # one falls as far as the other rises
    torch.testing.assert_close(metric.curve(), torch.full((20,), 19 / 40, dtype=torch.float64))
    one, other = (StartEndDelta(function=absolute_difference, horizon=20) for _ in range(2))
    one.update(predicted[:1], truth[:1])
    other.update(predicted[1:], truth[1:])
    one.merge_state(other)
    torch.testing.assert_close(one.compute(), metric.compute())
    short = StartEndDelta(function=absolute_difference, horizon=2)
    short.update(grey([[0.1, 0.4]]), grey([[0.0, 0.0]]))
    assert short.compute().item() == pytest.approx(0.3)


def test_motion_is_relative_to_the_truths():
    truth = grey([[0.0, 0.1, 0.3], [0.5, 0.5, 0.5]])
    for predicted, expected in ((truth, 1), (truth * 2, 2), (truth.flip(1), 1), (truth[:, :1], 0)):
        metric = MotionAmount(horizon=3)
        metric.update(predicted.expand_as(truth), truth)
        assert metric.compute().item() == pytest.approx(expected, rel=1e-6)
    halves = [MotionAmount(horizon=3) for _ in range(2)]
    for i, half in enumerate(halves):
        half.update(truth[i : i + 1] * 2, truth[i : i + 1])
    halves[0].merge_state(halves[1])
    torch.testing.assert_close(halves[0].curve(), torch.full((3,), 2.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least 2 frames"):
        MotionAmount(horizon=1)


def test_motion_where_the_truth_is_still():
    still = grey([[0.5, 0.5]])
    for predicted, expected in ((still, 1.0), (grey([[0.0, 0.5]]), math.inf)):
        metric = MotionAmount(horizon=2)
        metric.update(predicted, still)
        assert metric.compute().item() == expected


def test_spread_of_endings():
    truth = grey([[0.9, 0.2], [0.1, 0.4], [0.3, 0.6]])
    for predicted, expected in ((truth, 1), (truth / 2, 0.5), (torch.full_like(truth, 0.3), 0)):
        metric = Spread()
        metric.update(predicted, truth)
        assert metric.compute().item() == pytest.approx(expected, abs=1e-6)
    single = Spread()
    single.update(truth[:1] / 2, truth[:1])
    assert single.compute().isnan()
    one, other = Spread(), Spread()
    one.update(truth[:1] / 2, truth[:1])
    other.update(truth[1:] / 2, truth[1:])
    one.merge_state(other)
    assert one.compute().item() == pytest.approx(0.5, abs=1e-6)


def test_cost_is_the_mean_time_and_the_largest_memory():
    one, other = RolloutCost(horizon=2), RolloutCost(horizon=2)
    one.update(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 30.0]))
    other.update(torch.tensor([3.0, 6.0]), torch.tensor([20.0, 20.0]))
    one.merge_state(other)
    seconds, memory = one.compute()
    assert seconds.tolist() == [2, 4]
    assert memory.tolist() == [20, 30]
