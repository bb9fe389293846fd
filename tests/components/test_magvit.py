"""VideoWorld's released latent dynamics: what its codes and its decoder see."""

from functools import partial

import pytest
import torch

from components.latent_dynamics import LatentDynamics
from components.latent_dynamics.magvit import MagvitDynamics
from components.latent_dynamics.magvit_layers import FrameNorm, Upsample
from components.quantizers.fsq import FiniteScalarQuantizer
from components.quantizers.vq import VectorQuantizer
from components.randomness import ClipRandom

HORIZON = 3
fsq = partial(FiniteScalarQuantizer, levels=[5, 4, 3])


def dynamics(quantizer=fsq, **changes):
    torch.manual_seed(0)
    sizes = dict(horizon=HORIZON, channels=8, multipliers=[1, 2], blocks=2, norm_groups=4, heads=2)
    return MagvitDynamics(quantizer=quantizer(dim=16), **sizes | changes)


def video(frames=1 + HORIZON, batch=2, seed=0):
    return torch.rand(batch, frames, 3, 8, 12, generator=torch.Generator().manual_seed(seed))


def random(batch=2):
    return ClipRandom(0, 0, first=0, size=batch)


def test_it_is_latent_dynamics():
    model = dynamics().eval()
    assert isinstance(model, LatentDynamics)
    assert (model.horizon, model.num_codes, model.codebook_size, model.dim) == (3, 3, 60, 16)
    codes = model.encode(video())
    assert codes.shape == (2, 3)
    assert model.features(video()).shape == (2, 3, 16)
    made = model.decode(video()[:, 0], codes)
    assert made.shape == (2, 3, 3, 8, 12)
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.parametrize("h", range(1, HORIZON + 1))
def test_a_code_sees_the_frames_up_to_its_own(h):
    model = dynamics().eval().double()
    before = video().double()
    after = before.clone()
    after[:, h] = 1.0 - after[:, h]
    found, changed = model.features(before), model.features(after)
    assert torch.equal(found[:, : h - 1], changed[:, : h - 1])
    assert bool((found[:, h - 1 :] - changed[:, h - 1 :]).abs().amax(dim=(0, 2)).gt(1e-4).all())


def test_a_short_video_goes_on_as_its_last_frame_and_a_long_one_is_cut():
    model = dynamics().eval()
    short = video(2)
    whole = torch.cat([short, short[:, -1:].expand(-1, 2, -1, -1, -1)], dim=1)
    assert torch.equal(model.features(short), model.features(whole))
    longer = torch.cat([whole, video(2, seed=1)], dim=1)
    assert torch.equal(model.features(longer), model.features(whole))


def test_frames_are_decoded_as_they_are_in_training():
    model = dynamics().eval().double()
    clip = video().double()
    made = model.reconstruct(clip, random())
    assert torch.equal(made.codes, model.encode(clip))
    expected = made.video[:, 1:].clamp(0, 1)
    decoded = model.decode(clip[:, 0], made.codes)  # the codebook is looked up in float32
    torch.testing.assert_close(decoded, expected, atol=1e-7, rtol=0)


def test_gradients_reach_all_that_codes_depend_on():
    model = dynamics().train()
    made = model.reconstruct(video(), random())
    ((made.video - video()) ** 2).mean().add(made.loss).backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == set()
    assert all(weight.grad.abs().sum() > 0 for weight in (model.queries, model.last_layer))


def test_the_autoencoder_trains_all_but_the_queries():
    model = dynamics().train()
    made = model.autoencode(video(), random())
    assert made.video.shape == (2, 4, 3, 8, 12)
    assert torch.equal(made.codes, model.encode(video()))
    made.video.square().mean().backward()
    idle = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is None}
    assert idle == {"queries", "formers", "quantizer"}


def test_codes_of_a_model_in_training_leave_the_codebook_alone():
    model = dynamics(partial(VectorQuantizer, codebook_size=9)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.encode(video())
    model.autoencode(video(), random())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.reconstruct(video(), random())
    assert not torch.equal(before["quantizer.codebook"], model.quantizer.codebook)


def test_a_norm_takes_each_frame_by_itself():
    norm = FrameNorm(frames=4, channels=6, groups=3)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 6, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    for t in range(4):
        alone = torch.nn.functional.group_norm(x[:, :, t], 3, norm.weight[t], norm.bias[t], eps=1e-6)
        torch.testing.assert_close(norm(x)[:, :, t], alone)
    assert torch.equal(norm(x[:, :, :2]), norm(x)[:, :, :2])


def test_upsampling_begins_with_four_pixels_alike():
    x = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    made = Upsample(channels=4)(x)
    assert made.shape == (1, 4, 2, 6, 6)
    assert torch.equal(made[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2), made)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "frames of 8x9; both sides must be multiples of 2"),
        ({"channels": 4}, r"quantizer\.dim is 16; codes are made of features of width 8"),
        ({"norm_groups": 3}, "3 norm groups do not divide 16 channels"),
        ({"channels": 2, "multipliers": [1, 8]}, "4 norm groups of a frame do not divide 2 channels"),
    ],
)
def test_what_does_not_fit_is_told(changes, says):
    with pytest.raises(ValueError, match=says):
        dynamics(**changes).encode(torch.zeros(1, 2, 3, 8, 9))
