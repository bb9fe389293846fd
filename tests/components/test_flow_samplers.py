import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.flow_path import denoised, spread
from components.flow_samplers import FlowSampler, falling_levels
from components.flow_samplers.euler import Euler
from components.flow_samplers.unipc import UniPC, _phi
from components.shifts.identity import Identity
from components.shifts.resolution import Resolution
from components.shifts.static import Static

MEAN, VARIANCE = 0.7, 0.25
START = torch.tensor([1.3, -0.4, 0.05], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
EXACT = torch.tensor([1.35, 0.5, 0.725], dtype=torch.float64)  # the end of the path, in closed form

GOLDEN = [  # steps, shift, UniPC, Euler
    (4, 1.0, (1.27114827, 0.52426207, 0.72196724), (1.14270270, 0.56378378, 0.71702703)),
    (8, 3.0, (1.20142559, 0.54571520, 0.71928560), (1.14219655, 0.56393952, 0.71700756)),
    (10, 7.0, (1.05243766, 0.59155764, 0.71355529), (1.03338104, 0.59742122, 0.71282235)),
    (25, 7.0, (1.26933301, 0.52482061, 0.72189742), (1.20784130, 0.54374114, 0.71953236)),
]


def gaussian(x, sigma):
    """The velocity where data are normal with this mean and variance."""
    s = spread(sigma, x)
    gain = (1 - s) * VARIANCE / ((1 - s) ** 2 * VARIANCE + s**2)
    return (x - MEAN - gain * (x - (1 - s) * MEAN)) / s


def end(sampler, start=START):
    return sampler(gaussian, start).flatten()


@pytest.mark.parametrize(("steps", "shift", "unipc", "euler"), GOLDEN)
def test_golden_values(steps, shift, unipc, euler):
    made = end(UniPC(num_steps=steps, shift=Static(shift=shift)))
    torch.testing.assert_close(made, torch.tensor(unipc, dtype=torch.float64), atol=1e-8, rtol=0)
    made = end(Euler(num_steps=steps, shift=Static(shift=shift)))
    torch.testing.assert_close(made, torch.tensor(euler, dtype=torch.float64), atol=1e-8, rtol=0)


@pytest.mark.parametrize("scale", ["bh1", "bh2"])
def test_unipc_is_far_nearer_to_the_exact_path(scale):
    for steps, shift in ((25, 3.0), (25, 7.0), (50, 3.0)):
        errors = [
            (end(sampler) - EXACT).abs().max()
            for sampler in (
                UniPC(num_steps=steps, shift=Static(shift=shift), scale=scale),
                Euler(num_steps=steps, shift=Static(shift=shift)),
            )
        ]
        assert errors[0] < 0.6 * errors[1]


@given(steps=st.integers(1, 12), shift=st.floats(0.5, 12.0))
@settings(max_examples=20, deadline=None)
def test_first_order_without_corrector_is_euler(steps, shift):
    plain = UniPC(num_steps=steps, shift=Static(shift=shift), order=1, corrector=False)
    euler = end(Euler(num_steps=steps, shift=Static(shift=shift)))
    torch.testing.assert_close(end(plain), euler, atol=1e-12, rtol=0)


@given(levels=st.integers(1, 12), shift=st.floats(0.3, 12.0))
@settings(max_examples=20, deadline=None)
def test_a_point_is_found_exactly_from_any_levels(levels, shift):
    point = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
    for sampler in (Euler, UniPC):
        made = sampler(num_steps=levels, shift=Static(shift=shift))(
            lambda x, sigma: (x - point) / spread(sigma, x), START
        )
        torch.testing.assert_close(made, point, atol=1e-12, rtol=0)


@pytest.mark.parametrize("make", [Euler, UniPC])
def test_one_velocity_a_step_at_falling_levels(make):
    sampler = make(num_steps=5, shift=Resolution())
    assert isinstance(sampler, FlowSampler)
    asked = []

    def velocity(x, sigma):
        assert sigma.shape == (2,)
        asked.append(sigma[0].item())
        return x

    sampler(velocity, torch.randn(2, 9, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    expected = Resolution()(torch.linspace(1, 0, 6), 9 * 8 * 8)[:-1]
    assert asked == pytest.approx(expected.tolist())


@pytest.mark.parametrize("make", [Euler, UniPC])
def test_half_precision_networks_are_followed_in_float32(make):
    sampler = make(num_steps=20, shift=Static(shift=3.0))
    made = sampler(lambda x, sigma: gaussian(x, sigma).bfloat16(), START.float())
    assert made.dtype == torch.float32
    assert sampler(gaussian, START.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(made.flatten(), end(sampler).float(), atol=0.02, rtol=0)


def test_float32_is_as_good_as_it_can_be_at_many_steps():
    """The coefficients are made in float64: short steps do not lose digits."""
    sampler = UniPC(num_steps=200, shift=Static(shift=7.0))
    torch.testing.assert_close(end(sampler, START.float()), end(sampler).float(), atol=2e-5, rtol=0)
    assert (end(sampler) - EXACT).abs().max() < 1e-2


def test_the_series_is_the_recursion():
    for h in (-2.0, -0.5):
        expected = (torch.tensor(h, dtype=torch.float64).expm1() / h - 1).item()
        factorial = 1
        for k in range(1, 4):
            assert _phi(h, k) == pytest.approx(expected, rel=1e-11)
            factorial *= k + 1
            expected = expected / h - 1 / factorial


def test_samples_of_a_batch_do_not_meet():
    starts = torch.randn(3, 2, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sampler = UniPC(num_steps=6, shift=Identity())
    together = sampler(gaussian, starts)
    apart = torch.cat([sampler(gaussian, start[None]) for start in starts])
    torch.testing.assert_close(together, apart, atol=0, rtol=0)


def test_equals_diffusers_euler():
    diffusers = pytest.importorskip("diffusers")
    noise = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    levels = falling_levels(10, Static(shift=7.0), noise)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 0, 11)[:-1].tolist())
    x = noise
    for sigma, timestep in zip(levels, scheduler.timesteps, strict=False):
        v = gaussian(x, torch.full((2,), sigma))
        x = scheduler.step(v, timestep, x, return_dict=False)[0]
    made = Euler(num_steps=10, shift=Static(shift=7.0))(gaussian, noise)
    torch.testing.assert_close(made, x, atol=1e-5, rtol=0)


def test_the_last_estimate_is_the_answer():
    seen = []

    def velocity(x, sigma):
        seen.append(denoised(x, gaussian(x, sigma), sigma))
        return gaussian(x, sigma)

    made = UniPC(num_steps=7, shift=Static(shift=3.0))(velocity, START)
    assert torch.equal(made, seen[-1])


@pytest.mark.parametrize("make", [Euler, UniPC])
def test_no_steps_are_refused(make):
    with pytest.raises(ValueError, match="num_steps >= 1"):
        make(num_steps=0, shift=Identity())(gaussian, START)
    with pytest.raises(ValueError, match="order >= 1"):
        UniPC(num_steps=3, shift=Identity(), order=0)
