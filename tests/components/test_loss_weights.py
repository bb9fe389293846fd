from math import pi

import pytest
import torch

from components.distances import Distance
from components.distances.pseudo_huber import PseudoHuber
from components.distances.squared import Squared
from components.loss_weights import LossWeight
from components.loss_weights.bell import Bell
from components.loss_weights.cosmap import CosMap
from components.loss_weights.even import Even
from components.loss_weights.sigma_sqrt import SigmaSqrt
from components.shifts.static import shifted

MIDDLES = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000


@pytest.mark.parametrize(
    ("weight", "scheme"), [(Even(), "none"), (SigmaSqrt(), "sigma_sqrt"), (CosMap(), "cosmap")]
)
def test_equals_diffusers(weight, scheme):
    training = pytest.importorskip("diffusers.training_utils")
    assert isinstance(weight, LossWeight)
    sigma = torch.linspace(0.01, 1, 100)
    torch.testing.assert_close(weight(sigma), training.compute_loss_weighting_for_sd3(scheme, sigma))


def test_cosmap_integrates_to_one_and_doubles_in_the_middle():
    weight = CosMap()(MIDDLES)
    assert weight.mean().item() == pytest.approx(1.0, abs=1e-6)
    ends = CosMap()(torch.tensor([0.0, 0.5, 1.0]))
    assert ends.tolist() == pytest.approx([2 / pi, 4 / pi, 2 / pi])


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_bell_has_mean_one_over_the_levels_drawn(shift):
    weight = Bell(shift=shift)
    drawn = shifted(MIDDLES, shift)
    assert weight(drawn).mean().item() == pytest.approx(1.0)
    assert weight(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert (weight(MIDDLES) > 0).all()
    torch.testing.assert_close(weight(MIDDLES), weight(1 - MIDDLES))


def test_bell_peaks_as_in_self_forcings_table():
    """Its 1000 levels end at 0.003 and not at 0: the least weight there is the noisiest level's."""
    assert Bell(shift=5.0)(torch.tensor(0.5)).item() == pytest.approx(2.076, abs=5e-3)
    even = torch.linspace(1, 0.003 / 1.002, 1001, dtype=torch.float64)[:-1]
    curve = torch.exp(-2 * (shifted(even, 5.0) - 0.5) ** 2)
    table = (curve - curve.min()) / (curve - curve.min()).mean()
    torch.testing.assert_close(Bell(shift=5.0)(shifted(even, 5.0)), table, rtol=5e-3, atol=1e-9)


def test_pseudo_huber_is_squared_near_zero_and_straight_far_off():
    assert isinstance(PseudoHuber(), Distance)
    assert isinstance(Squared(), Distance)
    zero = torch.zeros(4, dtype=torch.float64)
    error = torch.tensor([1e-6, 1e-3, 0.3, 50.0], dtype=torch.float64)
    cost = PseudoHuber(c=0.2)(error, zero)
    torch.testing.assert_close(cost[:1], Squared()(error, zero)[:1])
    torch.testing.assert_close(
        cost, 2 * 0.04 * (torch.sqrt(1 + (error / 0.2) ** 2) - 1), atol=1e-16, rtol=1e-7
    )
    assert cost[3].item() == pytest.approx(2 * 0.2 * 50, rel=0.01)
    torch.testing.assert_close(PseudoHuber(c=1e6)(error, zero), Squared()(error, zero), atol=0, rtol=1e-8)
    with pytest.raises(ValueError, match="needs c > 0"):
        PseudoHuber(c=0.0)


def test_pseudo_huber_has_a_gradient_at_zero():
    predicted = torch.zeros(3, requires_grad=True)
    PseudoHuber()(predicted, torch.zeros(3)).sum().backward()
    assert torch.equal(predicted.grad, torch.zeros(3))
