"""Noise on what is seen of the history."""

import pytest
import torch

from components.backbones.denoiser import Segment
from components.history_noises import HistoryNoise
from components.history_noises.clean import Clean
from components.history_noises.tied import Tied
from components.memories import Context
from components.randomness import ClipRandom


def context(b=2):
    times = torch.arange(2).expand(b, -1)
    return Context([Segment(torch.full((b, 2, 1, 2, 2), 3.0), times, kernel) for kernel in (2, 1)], times)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_clean_is_the_context_itself():
    given, sigma = context(), torch.tensor([0.5, 1.0])
    assert Clean().trained(given, sigma, ClipRandom(0, 0, first=0, size=2)) is given
    assert Clean().sampling(given, draw)(sigma) is given
    assert isinstance(Clean(), HistoryNoise)
    assert isinstance(Tied(), HistoryNoise)


def test_training_noise_is_a_share_of_the_sections_own():
    sigma = torch.tensor([0.0, 1.0])
    made = Tied(train=1.0).trained(context(), sigma, ClipRandom(0, 0, first=0, size=2))
    for segment in made.segments:
        assert segment.latents[0].eq(3.0).all()  # at level 0 nothing is added
        assert abs(float(segment.latents[1].mean())) < 1.5  # at level 1 nothing is left
    drawn = [Tied().trained(context(), sigma, ClipRandom(0, step, first=0, size=2)) for step in range(30)]
    left = torch.stack([made.segments[0].latents[1].mean() for made in drawn])
    assert 0.5 < float(left.mean()) < 2.5  # shares from 0 to 1, 3 times what is left of them


def test_sampling_keeps_one_noise_from_step_to_step():
    seen = Tied(test=0.5).sampling(context(), draw)
    high, low = (seen(torch.full((2,), sigma)).segments[0].latents for sigma in (1.0, 0.5))
    noise = (high - 0.5 * 3.0) / 0.5
    torch.testing.assert_close(low, 0.75 * 3.0 + 0.25 * noise)
    given = context()
    assert Tied(test=0.0).sampling(given, draw)(torch.ones(2)) is given


def test_a_clip_that_sees_nothing_sees_zeros():
    kept = context().kept(torch.tensor([True, False]))
    assert kept.segments[0].latents[0].eq(3.0).all()
    assert not kept.segments[0].latents[1].any()
    assert torch.equal(kept.indices, context().indices)


@pytest.mark.parametrize("shares", [{"train": 1.5}, {"test": -0.1}])
def test_shares_lie_between_0_and_1(shares):
    with pytest.raises(ValueError, match="give shares from 0 to 1"):
        Tied(**shares)
