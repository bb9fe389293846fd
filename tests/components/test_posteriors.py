"""Posteriors, priors and the divergence between them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from components.gaussian import DiagonalGaussian, kl_divergence
from components.posteriors import Posterior
from components.posteriors.pair_encoder import PairEncoder
from components.priors import Prior
from components.priors.fixed import FixedPrior
from components.priors.learned import LearnedPrior


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 666_832), ({"image_channels": 1, "latent_dim": 32}, 675_072), ({"action_dim": 4}, 670_928)],
)
def test_has_the_official_number_of_parameters(options, expected):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in PairEncoder(**options).parameters()) == expected


def test_a_latent_sees_its_two_frames_and_their_action_only():
    encoder = PairEncoder(action_dim=2, channels=4)
    assert isinstance(encoder, Posterior)
    video, actions = torch.rand(2, 6, 3, 16, 24), torch.randn(2, 5, 2)
    before = encoder(video, actions)
    assert before.mean.shape == before.log_variance.shape == (2, 5, 8)
    video[:, 3] = torch.rand(2, 3, 16, 24)
    moved = (encoder(video, actions).mean - before.mean).abs().amax(dim=(0, 2)) > 1e-7
    assert moved.tolist() == [False, False, True, True, False]
    before = encoder(video, actions)
    actions[:, 1] += 1
    moved = (encoder(video, actions).mean - before.mean).abs().amax(dim=(0, 2)) > 1e-7
    assert moved.tolist() == [False, True, False, False, False]


def test_log_variances_are_clipped():
    encoder = PairEncoder(channels=4)
    for bias, expected in ((50.0, 10.0), (-50.0, -10.0)):
        encoder.log_variance.bias.data.fill_(bias)
        assert (encoder(torch.rand(1, 3, 3, 16, 16)).log_variance == expected).all()


def test_missing_actions_are_one_clear_line():
    with pytest.raises(ValueError, match="built for 2 actions, it was given 0"):
        PairEncoder(action_dim=2, channels=4)(torch.rand(1, 3, 3, 16, 16))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 3))
def test_divergence_is_torchs(seed, scale):
    p = DiagonalGaussian(scale * drawn(2, 3, 4, seed=seed), scale * drawn(2, 3, 4, seed=seed + 1))
    q = DiagonalGaussian(scale * drawn(2, 3, 4, seed=seed + 2), scale * drawn(2, 3, 4, seed=seed + 3))
    normals = [Normal(g.mean, torch.exp(0.5 * g.log_variance)) for g in (p, q)]
    expected = torch_kl(*normals).sum(-1).mean()
    torch.testing.assert_close(kl_divergence(p, q), expected, rtol=1e-9, atol=1e-9)


def test_divergence_from_the_standard_normal_is_the_papers():
    p = DiagonalGaussian(drawn(2, 3, 4), drawn(2, 3, 4, seed=1))
    zeros = FixedPrior(latent_dim=4)(torch.zeros(2, 2, 3, 8, 8, dtype=torch.float64), 3)
    expected = 0.5 * (p.mean**2 + p.log_variance.exp() - p.log_variance - 1)
    torch.testing.assert_close(kl_divergence(p, zeros), expected.sum(-1).mean())
    assert kl_divergence(p, p).item() == pytest.approx(0.0, abs=1e-12)


def test_samples_have_the_mean_and_variance_asked():
    p = DiagonalGaussian(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])).sample(
        drawn(200_000, 2).float()
    )
    torch.testing.assert_close(p.mean(0), torch.tensor([1.0, -2.0]), rtol=0, atol=0.03)
    torch.testing.assert_close(p.var(0).log(), torch.tensor([0.0, 2.0]), rtol=0, atol=0.03)


@pytest.mark.parametrize("prior", [FixedPrior(latent_dim=5), LearnedPrior(latent_dim=5, channels=4)])
def test_priors_give_one_gaussian_a_transition(prior):
    assert isinstance(prior, Prior)
    context = torch.rand(2, 3, 3, 16, 16)
    short, long = prior(context, 4), prior(context, 9)
    assert long.mean.shape == long.log_variance.shape == (2, 9, 5)
    torch.testing.assert_close(short.mean, long.mean[:, :4])  # a longer horizon changes nothing before it


def test_learned_prior_remembers_the_context_and_reads_it_in_order():
    prior = LearnedPrior(channels=4, action_dim=2)
    prior.mean.weight.data *= 50
    context, actions = torch.rand(2, 4, 3, 16, 16), torch.randn(2, 3, 2)
    before = prior(context, 6, actions).mean
    context[:, 3] = torch.rand(2, 3, 16, 16)  # the pair (2, 3) is the third
    moved = (prior(context, 6, actions).mean - before).abs().amax(dim=(0, 2)) > 1e-9
    assert moved.tolist() == [False, False, True, True, True, True]
    with pytest.raises(ValueError, match="4 context frames have more than 2 transitions"):
        prior(context, 2, actions)
