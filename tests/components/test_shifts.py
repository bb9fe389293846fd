from math import log

import pytest
import torch

from components.flow_path import num_tokens
from components.shifts import Shift
from components.shifts.identity import Identity
from components.shifts.resolution import Resolution
from components.shifts.static import Static, shifted

EVEN = torch.linspace(0, 1, 101, dtype=torch.float64)


@pytest.mark.parametrize("shift", [Identity(), Static(shift=5.0), Static(shift=0.2), Resolution()])
def test_grows_and_keeps_both_ends(shift):
    assert isinstance(shift, Shift)
    sigma = shift(EVEN, 1560)
    assert torch.equal(sigma[[0, -1]], EVEN[[0, -1]])
    assert (sigma.diff() > 0).all()


def test_shifts_multiply_and_one_changes_nothing():
    torch.testing.assert_close(shifted(EVEN, 1.0), EVEN, atol=1e-15, rtol=0)
    torch.testing.assert_close(shifted(shifted(EVEN, 3.0), 2.5), shifted(EVEN, 7.5), atol=1e-15, rtol=0)
    torch.testing.assert_close(shifted(shifted(EVEN, 3.0), 1 / 3), EVEN, atol=1e-15, rtol=0)
    assert Static(shift=5.0)(torch.tensor([1.0, 0.75, 0.5, 0.25]), 1).mul(1000).tolist() == pytest.approx(
        [1000, 937.5, 833.33, 625], abs=5e-3
    )


@pytest.mark.parametrize(
    ("frames", "height", "width", "factor"),
    [(1, 60, 104, 2.0559), (9, 60, 104, 7.0), (9, 48, 80, 6.8153), (9, 76, 80, 7.0)],
)
def test_framepacks_shifts(frames, height, width, factor):
    tokens = num_tokens(frames, height, width)
    assert Resolution().factor(tokens) == pytest.approx(factor, abs=1e-4)


def test_without_a_bound_the_line_goes_on():
    free = Resolution(largest=None)
    assert free.factor(num_tokens(9, 76, 80)) == pytest.approx(15.995, abs=1e-3)
    assert log(free.factor(256)) == pytest.approx(0.5)
    assert log(free.factor(4096)) == pytest.approx(1.15)
    assert log(free.factor(64)) < 0.5


def test_equals_diffusers_scheduler():
    diffusers = pytest.importorskip("diffusers")
    even = torch.linspace(1, 0, 26, dtype=torch.float64)
    static = diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)
    static.set_timesteps(sigmas=even[:-1].tolist())
    moving = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    moving.set_timesteps(sigmas=even[:-1].tolist(), mu=log(7))
    for shift, tokens in ((Static(shift=7.0), 1), (Resolution(), 10**6)):
        for scheduler in (static, moving):
            torch.testing.assert_close(shift(even, tokens).float(), scheduler.sigmas, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Static(shift=0.0),
        lambda: Resolution(base_tokens=5, max_tokens=5),
        lambda: Resolution(largest=0.0),
    ],
)
def test_wrong_settings_are_one_clear_line(wrong):
    with pytest.raises(ValueError, match="needs"):
        wrong()
