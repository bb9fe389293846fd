import torch
from torch import Tensor

from components.metrics.absolute_difference import absolute_difference
from components.metrics.best_of import BestOf
from components.metrics.psnr import psnr


def futures(levels: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Black truth of one clip, and futures whose frames have these grey levels."""
    grey = torch.tensor(levels)[None, :, :, None, None, None]
    predicted = grey.expand(-1, -1, -1, 3, 4, 4)
    return predicted, torch.zeros_like(predicted[:, 0])


def test_the_future_is_chosen_by_its_time_mean():
    predicted, truth = futures([[0.1, 0.5], [0.2, 0.2], [0.9, 0.0]])
    metric = BestOf(function=absolute_difference, horizon=2, lower_is_better=True)
    metric.update(predicted, truth)
    result = {name: round(value.item(), 6) for name, value in metric.compute().items()}
    assert result == {"best": 0.2, "mean": round(1.9 / 6, 6), "worst": 0.45}
    curves = metric.curves()
    torch.testing.assert_close(curves["best"].float(), torch.tensor([0.2, 0.2]))
    torch.testing.assert_close(curves["worst"].float(), torch.tensor([0.9, 0.0]))
    torch.testing.assert_close(curves["mean"].float(), torch.tensor([0.4, 0.7 / 3]))


def test_of_a_likeness_the_highest_is_best():
    predicted, truth = futures([[0.1, 0.1], [0.01, 0.01]])
    metric = BestOf(function=psnr, horizon=2, lower_is_better=False)
    metric.update(predicted, truth)
    torch.testing.assert_close(metric.compute()["best"].item(), 40.0)
    torch.testing.assert_close(metric.compute()["worst"].item(), 20.0)


def test_each_clip_chooses_for_itself_and_halves_merge():
    predicted = torch.rand(5, 3, 4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    truth = torch.rand(5, 4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    whole = BestOf(function=psnr, horizon=4, lower_is_better=False)
    whole.update(predicted, truth)
    values = torch.stack([psnr(predicted[:, i], truth).mean(dim=1) for i in range(3)], dim=1).double()
    torch.testing.assert_close(whole.compute()["best"], values.amax(dim=1).mean(), rtol=1e-6, atol=0)
    one, other = (BestOf(function=psnr, horizon=4, lower_is_better=False) for _ in range(2))
    one.update(predicted[:2], truth[:2])
    other.update(predicted[2:], truth[2:])
    one.merge_state(other)
    for name, value in whole.compute().items():
        torch.testing.assert_close(one.compute()[name], value)
