import pytest
import torch

from components.timestep_laws import TimestepLaw
from components.timestep_laws.log_snr import LogSNR
from components.timestep_laws.logit_normal import LogitNormal
from components.timestep_laws.mode import STEEPEST, Mode
from components.timestep_laws.uniform import Uniform

LAWS = [
    Uniform(),
    LogitNormal(),
    LogitNormal(mean=0.5, std=1.3),
    Mode(),
    Mode(scale=-1.0),
    Mode(scale=STEEPEST),
    LogSNR(),
    LogSNR(mean=-2.0, std=3.0),
]


@pytest.mark.parametrize("law", LAWS)
def test_is_an_inverse_cumulative_function(law):
    assert isinstance(law, TimestepLaw)
    u = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    sigma = law.quantile(u)
    assert torch.equal(sigma[[0, -1]], torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert (sigma.diff() > -1e-15).all()


def test_logit_normal_and_mode_are_those_of_diffusers():
    training = pytest.importorskip("diffusers.training_utils")

    def theirs(scheme, **settings):
        generator = torch.Generator().manual_seed(3)
        return training.compute_density_for_timestep_sampling(scheme, 1000, generator=generator, **settings)

    z = torch.normal(0.3, 0.8, (1000,), generator=torch.Generator().manual_seed(3)).sub(0.3).div(0.8)
    u = torch.special.ndtr(z.double())
    ours = LogitNormal(mean=0.3, std=0.8).quantile(u)
    expected = theirs("logit_normal", logit_mean=0.3, logit_std=0.8)
    torch.testing.assert_close(ours.float(), expected, atol=1e-5, rtol=0)
    u = torch.rand(1000, generator=torch.Generator().manual_seed(3))
    for scale in (1.29, -0.7):
        torch.testing.assert_close(Mode(scale=scale).quantile(1 - u), theirs("mode", mode_scale=scale))


def test_log_snr_is_normal_with_its_mean_and_deviation():
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    sigma = LogSNR(mean=-1.5, std=2.5).quantile(u)
    ratio = 2 * torch.log((1 - sigma) / sigma)
    assert ratio.mean().item() == pytest.approx(-1.5, abs=1e-6)
    assert ratio.std().item() == pytest.approx(2.5, abs=1e-3)
    same = LogitNormal(mean=0.75, std=1.25).quantile(u)
    torch.testing.assert_close(sigma, same, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LogitNormal(std=0.0),
        lambda: LogSNR(std=-1.0),
        lambda: Mode(scale=1.76),
        lambda: Mode(scale=-1.1),
    ],
)
def test_what_is_no_distribution_is_refused(wrong):
    with pytest.raises(ValueError, match="needs"):
        wrong()
