import pytest
import torch
from torch import Tensor

from components.metrics.frechet import FrechetDistance, frechet_distance


class Pixels:
    """The first pixels of the first frame as features: any set of vectors can be a set of videos."""

    distance = "of pixels"
    min_frames = 1

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, video):
        return video.flatten(1)[:, : self.dim]


def videos(features: Tensor) -> Tensor:
    """(n, d) as (n, 1, 3, 1, w), in float64."""
    n, d = features.shape
    w = -(-d // 3)
    padded = torch.zeros(n, 3 * w, dtype=torch.float64)
    padded[:, :d] = features
    return padded.reshape(n, 1, 3, 1, w)


def distance(x: Tensor, y: Tensor) -> float:
    metric = FrechetDistance(features=Pixels(x.shape[1]))
    metric.update(videos(x), videos(y))
    return metric.compute().item()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_sets_have_distance_zero_and_a_shift_its_square():
    x = normal(50, 8)
    assert distance(x, x) == pytest.approx(0, abs=1e-10)
    shift = torch.arange(8, dtype=torch.float64)
    assert distance(x + shift, x) == pytest.approx(shift.square().sum().item(), rel=1e-9)


def test_a_scale_changes_the_spread_alone():
    x = normal(40, 5)
    x = x - x.mean(dim=0)
    trace = torch.cov(x.T).trace().item()
    assert distance(3 * x, x) == pytest.approx((3 - 1) ** 2 * trace, rel=1e-9)


def test_one_dimensional_gaussians():
    mean, variance = torch.zeros(1), torch.tensor([[1.0]])
    args = (mean.double(), 4 * variance.double(), mean.double() + 2, variance.double())
    assert frechet_distance(*args).item() == pytest.approx(2**2 + (2 - 1) ** 2)


def test_any_covariances_against_the_square_root_of_their_product():
    c1, c2 = (normal(6, 6, seed=s) for s in (1, 2))
    c1, c2 = c1 @ c1.T, c2 @ c2.T
    zero = torch.zeros(6, dtype=torch.float64)
    root = torch.linalg.eigvals(c1 @ c2).sqrt().sum().real
    expected = (c1.trace() + c2.trace() - 2 * root).item()
    assert frechet_distance(zero, c1, zero, c2).item() == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(zero, c2, zero, c1).item() == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_stay_real_and_exact():
    x = normal(4, 60)  # four videos, sixty features
    assert distance(x, x) == pytest.approx(0, abs=1e-9)
    assert distance(x, -x) == pytest.approx(4 * x.mean(dim=0).square().sum().item(), rel=1e-9)
    orthogonal = torch.zeros(2, 4, dtype=torch.float64)
    orthogonal[0, 0] = orthogonal[1, 0] = 1
    other = torch.eye(2, 4, dtype=torch.float64)
    expected = (orthogonal.mean(0) - other.mean(0)).square().sum().item() + torch.cov(other.T).trace().item()
    assert distance(orthogonal, other) == pytest.approx(expected, rel=1e-9)


def test_a_large_mean_does_not_drown_the_covariance():
    x, y = normal(200, 6), 2 * normal(200, 6, seed=1)
    assert distance(x + 1e3, y + 1e3) == pytest.approx(distance(x, y), rel=1e-6)


def test_batches_and_merged_halves_equal_one_pass():
    x, y = normal(30, 7), 2 * normal(20, 7, seed=1) + 1
    one, other = (FrechetDistance(features=Pixels(7)) for _ in range(2))
    one.update(videos(x[:13]), videos(y[:4]))
    other.update(videos(x[13:]), videos(y[4:]))
    one.merge_state(other)
    assert one.compute().item() == pytest.approx(distance(x, y), rel=1e-10)
    assert one.videos() == 20


def test_one_video_is_not_a_distribution():
    metric = FrechetDistance(features=Pixels(3))
    metric.update(videos(normal(1, 3)), videos(normal(5, 3)))
    assert metric.compute().isnan()
