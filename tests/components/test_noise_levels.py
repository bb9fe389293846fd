import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.noise_levels import NoiseLevels
from components.randomness import ClipRandom
from components.shifts.identity import Identity
from components.shifts.resolution import Resolution
from components.shifts.static import Static
from components.timestep_laws.logit_normal import LogitNormal
from components.timestep_laws.mode import Mode
from components.timestep_laws.uniform import Uniform


def levels(law=None, shift=None, **settings):
    return NoiseLevels(law=law or Uniform(), shift=shift or Identity(), **settings)


def random(step=0, first=0, size=8, seed=0):
    return ClipRandom(seed, step, first=first, size=size)


def test_random_tells_its_place():
    made = ClipRandom(4, 7, first=16, size=3)
    assert (made.seed, made.step, made.first, made.size) == (4, 7, 16, 3)


def test_follows_the_law_and_the_shift():
    wanted = Resolution()(LogitNormal(mean=0.4, std=1.2).quantile(torch.tensor([0.1, 0.5, 0.9])), 1560)
    made = levels(LogitNormal(mean=0.4, std=1.2), Resolution())
    torch.testing.assert_close(made.quantiles([0.1, 0.5, 0.9], 1560), wanted)
    drawn = made.draw(random(size=20_000), 1560)
    torch.testing.assert_close(drawn.quantile(torch.tensor([0.1, 0.5, 0.9])), wanted, atol=0.01, rtol=0)


def test_one_level_a_clip_or_one_a_group():
    made = levels()
    assert made.draw(random(), 64).shape == (8,)
    grouped = made.draw(random(), 64, groups=5)
    assert grouped.shape == (8, 5)
    assert len(grouped.unique()) == 40
    assert made.draw(random(), 64, groups=1).shape == (8, 1)


def test_never_exactly_clean():
    made = levels()
    made_up = random(size=1)
    made_up.uniform = lambda *shape: torch.zeros(1, *shape)
    assert 0 < made.draw(made_up, 64).item() < 1e-7


@pytest.mark.parametrize("strata", [0, 8, 16])
def test_the_same_in_one_process_as_in_two(strata):
    made = levels(LogitNormal(), strata=strata)
    whole = made.draw(random(step=3), 64, groups=2)
    halves = [made.draw(random(step=3, first=first, size=4), 64, groups=2) for first in (0, 4)]
    assert torch.equal(whole, torch.cat(halves))
    assert torch.equal(whole, made.draw(random(step=3), 64, groups=2))


@given(runs=st.integers(1, 3), strata=st.integers(1, 9), step=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_each_stratum_has_one_clip_in_each_run(runs, strata, step):
    drawn = levels(strata=strata).draw(random(step=step, size=runs * strata), 64, groups=2)
    cells = drawn.double().mul(strata).floor().long().clamp(max=strata - 1).reshape(runs, strata, 2)
    expected = torch.arange(strata)[None, :, None].expand_as(cells)
    assert torch.equal(cells.sort(dim=1).values, expected)


def test_strata_leave_each_place_its_law():
    """Over many steps a clip's levels are uniform, and those of its groups independent."""
    made = levels(strata=4)
    drawn = torch.stack([made.draw(random(step=step, size=4), 64, groups=2) for step in range(1000)])
    shares = drawn[:, 1, 0].quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]))
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]), atol=0.04, rtol=0)
    assert abs(torch.corrcoef(drawn[:, 0].T)[0, 1].item()) < 0.08


def test_strata_steady_the_loss_in_high_dimensions():
    """With the best linear denoiser of a Gaussian, whose loss at a level is known."""
    variance = torch.tensor([0.05, 1.0])

    def loss(sigma):
        s = sigma[:, None]
        total = (1 - s) ** 2 * variance + s**2
        return (variance / total).mean(dim=1)  # of the error of noise - x0

    spread = {
        strata: torch.stack(
            [loss(levels(strata=strata).draw(random(step=n, size=16), 64)).mean() for n in range(120)]
        ).std()
        for strata in (0, 16)
    }
    assert spread[16] < 0.3 * spread[0]


@pytest.mark.parametrize("law", [Uniform(), LogitNormal(mean=-0.5), Mode()])
@pytest.mark.parametrize("shift", [Static(shift=5.0), Resolution()])
def test_a_range_is_as_if_levels_outside_were_drawn_again(law, shift):
    free, bounded = levels(law, shift), levels(law, shift, low=0.2, high=0.9)
    q = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    every = shift(law.quantile(q), 1000)
    inside = every[(every >= 0.2) & (every <= 0.9)]
    shares = [0.0, 0.1, 0.5, 0.9, 1.0]
    wanted = inside.quantile(torch.tensor(shares, dtype=torch.float64)).float()
    torch.testing.assert_close(bounded.quantiles(shares, 1000), wanted, atol=1e-4, rtol=0)
    drawn = bounded.draw(random(size=500), 1000)
    assert ((drawn >= 0.2) & (drawn <= 0.9)).all()
    assert free.draw(random(size=500), 1000).max() > 0.9


@pytest.mark.parametrize("wrong", [{"low": 0.5, "high": 0.5}, {"low": -0.1}, {"high": 1.1}, {"strata": -1}])
def test_wrong_settings_are_one_clear_line(wrong):
    with pytest.raises(ValueError, match="needs 0 <= low"):
        levels(**wrong)
