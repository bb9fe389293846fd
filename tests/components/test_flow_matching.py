import pytest
import torch

from components.distances.pseudo_huber import PseudoHuber
from components.distances.squared import Squared
from components.flow_path import denoised, noised
from components.loss_weights.bell import Bell
from components.loss_weights.cosmap import CosMap
from components.loss_weights.even import Even
from components.noise_levels import NoiseLevels
from components.objectives.flow_matching import FlowMatching
from components.randomness import ClipRandom
from components.shifts.identity import Identity
from components.shifts.resolution import Resolution
from components.timestep_laws.uniform import Uniform


def flow(weight=None, distance=None, shift=None):
    levels = NoiseLevels(law=Uniform(), shift=shift or Identity())
    return FlowMatching(levels=levels, weight=weight or Even(), distance=distance or Squared())


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random(first=0, size=3):
    return ClipRandom(0, 5, first=first, size=size)


def test_the_path_goes_from_latents_to_noise():
    x0, noise = drawn(4, 2, 3, 2, 2, dtype=torch.float64), drawn(4, 2, 3, 2, 2, seed=1, dtype=torch.float64)
    sigma = torch.tensor([0.0, 1.0, 0.3, 0.7], dtype=torch.float64)
    made = flow().at(x0, sigma, noise)
    assert torch.equal(made.x[0], x0[0])
    assert torch.equal(made.x[1], noise[1])
    assert torch.equal(made.velocity, noise - x0)
    torch.testing.assert_close(denoised(made.x, made.velocity, sigma), x0, atol=1e-15, rtol=0)
    per_frame = torch.tensor([[0.0, 1.0]] * 4, dtype=torch.float64)
    made = flow().at(x0, per_frame, noise)
    assert torch.equal(made.x, torch.stack((x0[:, 0], noise[:, 1]), dim=1))
    assert torch.equal(noised(x0, per_frame, noise), made.x)


def test_the_same_in_one_process_as_in_two():
    x0 = drawn(4, 3, 2, 2, 2)
    whole = flow().corrupt(x0, random(size=4))
    halves = [flow().corrupt(x0[first : first + 2], random(first=first, size=2)) for first in (0, 2)]
    for both, parts in zip(whole, zip(*halves, strict=True), strict=True):
        assert torch.equal(both, torch.cat(parts))


def test_groups_of_frames_share_a_level():
    made = flow().corrupt(drawn(3, 6, 2, 2, 2), random(), groups=2)
    assert made.sigma.shape == (3, 6)
    assert torch.equal(made.sigma[:, 0], made.sigma[:, 2])
    assert torch.equal(made.sigma[:, 3], made.sigma[:, 5])
    assert not torch.equal(made.sigma[:, 2], made.sigma[:, 3])
    with pytest.raises(ValueError, match="6 latent frames are no 4 equal groups"):
        flow().corrupt(drawn(3, 6, 2, 2, 2), random(), groups=4)


def test_more_tokens_are_noisier():
    few, many = (
        flow(shift=Resolution(largest=None)).corrupt(drawn(3, 9, 1, side, side), random()) for side in (4, 64)
    )
    assert (many.sigma > few.sigma).all()


def test_a_fixed_quantile_is_a_level_of_training():
    x0, noise = drawn(3, 9, 1, 32, 32), drawn(3, 9, 1, 32, 32, seed=1)
    objective = flow(shift=Resolution())
    made = objective.at_quantile(x0, 0.7, noise)
    expected = objective.levels.quantiles([0.7], 9 * 16 * 16)
    assert torch.equal(made.sigma, expected.expand(3))
    assert torch.equal(made.x, objective.at(x0, made.sigma, noise).x)


def test_a_loss_a_clip_the_mean_of_its_errors_times_its_weight():
    predicted, velocity = drawn(3, 2, 4, 2, 2), drawn(3, 2, 4, 2, 2, seed=1)
    sigma = torch.tensor([0.1, 0.5, 0.8])
    plain = flow().loss(predicted, velocity, sigma)
    torch.testing.assert_close(plain, (predicted - velocity).square().flatten(1).mean(dim=1))
    torch.testing.assert_close(flow(CosMap()).loss(predicted, velocity, sigma), plain * CosMap()(sigma))
    robust = flow(distance=PseudoHuber(c=0.5)).loss(predicted, velocity, sigma)
    assert (robust < plain).all()


def test_a_level_a_frame_is_a_weight_a_frame():
    predicted, velocity = drawn(3, 2, 4, 2, 2), drawn(3, 2, 4, 2, 2, seed=1)
    sigma = torch.tensor([[0.1, 0.5], [0.5, 0.8], [0.3, 0.3]])
    made = flow(Bell()).loss(predicted, velocity, sigma)
    errors = (predicted - velocity).square().mean(dim=(2, 3, 4))
    torch.testing.assert_close(made, (errors * Bell()(sigma)).mean(dim=1))
    shared = flow(Bell()).loss(predicted, velocity, torch.tensor([0.3, 0.3, 0.3]))
    torch.testing.assert_close(made[2], shared[2])


def test_padding_changes_neither_loss_nor_gradient():
    sigma = torch.tensor([0.2, 0.6])
    velocity = drawn(2, 5, 3, 4, 4, seed=1)
    mask = torch.ones(2, 5, 1, 1, 1, dtype=torch.bool)
    mask[1, 3:] = False
    made, slopes = [], []
    for disturbance in (0.0, 100.0):
        predicted = drawn(2, 5, 3, 4, 4)
        predicted[1, 3:] += disturbance
        predicted.requires_grad_()
        loss = flow(Bell()).loss(predicted, velocity, sigma, mask)
        loss.sum().backward()
        made.append(loss.detach())
        slopes.append(predicted.grad)
    assert torch.equal(*made)
    assert torch.equal(*slopes)
    assert not slopes[0][1, 3:].any()
    alone = flow(Bell()).loss(drawn(2, 5, 3, 4, 4)[1:, :3], velocity[1:, :3], sigma[1:])
    torch.testing.assert_close(made[0][1:], alone)


def test_masks_of_pixels_and_of_nothing():
    predicted, velocity, sigma = drawn(2, 2, 3, 4, 4), drawn(2, 2, 3, 4, 4, seed=1), torch.tensor([0.2, 0.6])
    mask = torch.zeros(2, 1, 1, 4, 4)
    mask[0, ..., :2] = 1.0
    made = flow().loss(predicted, velocity, sigma, mask)
    torch.testing.assert_close(made[0], (predicted - velocity)[0, ..., :2].square().mean())
    assert made[1].item() == 0.0
    whole = flow().loss(predicted, velocity, sigma, torch.ones(2, 2, 3, 4, 4))
    torch.testing.assert_close(whole, flow().loss(predicted, velocity, sigma))


def test_half_precision_predictions_are_averaged_in_full():
    predicted, velocity = drawn(1, 2, 8, 32, 32).bfloat16(), drawn(1, 2, 8, 32, 32, seed=1)
    made = flow().loss(predicted, velocity, torch.tensor([0.5]))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, flow().loss(predicted.float(), velocity, torch.tensor([0.5])))
