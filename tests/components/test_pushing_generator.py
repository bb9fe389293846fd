"""The generators of CDNA, DNA, SNA and SV2P; test_pushing_official compares them with the official code."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from components.backbones import FrameGenerator
from components.backbones.pushing_generator import PushingGenerator
from components.backbones.unroll import unroll
from components.gaussian import kl_divergence
from components.posteriors import Posterior
from components.posteriors.video_encoder import VideoEncoder
from components.priors.fixed import FixedPrior
from components.transformations import Transformation
from components.transformations.cdna import CDNA
from components.transformations.dna import DNA
from components.transformations.finn import FinnCDNA, FinnDNA
from components.transformations.flow import Flow

ALL = [FinnCDNA, FinnDNA, CDNA, DNA, Flow]
AREA = 2 * 3  # of the bottleneck at 16x24


def build(component=FinnCDNA, *, height=16, width=24, **options):
    torch.manual_seed(0)
    transformation = partial(component, num_warps=3)
    small = {"channels": 4, "first_channels": 6} | options
    return PushingGenerator(height=height, width=width, transformation=transformation, **small)


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def rollout(generator, frames, **given):
    with torch.no_grad():
        return list(unroll(generator, frames, 4, **given))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"transformation": partial(FinnCDNA, kernel_size=9), "relu_heads": True}, 12_235_719),
        ({"transformation": partial(FinnDNA, kernel_size=9), "scratch_image": False}, 6_267_507),
        (
            {"transformation": partial(FinnCDNA, num_warps=10), "channels": 16, "lstms_per_scale": 1},
            2_373_977,
        ),
        ({"transformation": partial(FinnCDNA), "latent_dim": 64}, 8_106_511),
    ],
)
def test_numbers_of_parameters(options, expected):
    with torch.device("meta"):
        generator = PushingGenerator(height=64, width=64, **options)
    assert sum(parameter.numel() for parameter in generator.parameters()) == expected


@pytest.mark.parametrize("component", ALL)
@pytest.mark.parametrize("background", ["last", "first"])
def test_frames_are_convex_blends(component, background):
    generator = build(component, background=background)
    for parameter in generator.parameters():
        parameter.data *= 3  # far from its start
    assert isinstance(generator, FrameGenerator)
    assert isinstance(generator.transformation, Transformation)
    frames = drawn(2, 2, 3, 16, 24)
    predictions = rollout(generator, frames)
    for prediction in predictions:
        assert prediction.layers.shape == (2, 5, 3, 16, 24)
        torch.testing.assert_close(prediction.masks.sum(1), torch.ones(2, 16, 24))
        assert prediction.frame.min() >= 0
        assert prediction.frame.max() <= 1 + 1e-6
        blend = torch.einsum("bmhw,bmchw->bchw", prediction.masks, prediction.layers)
        torch.testing.assert_close(prediction.frame, blend)
    still = predictions[-1].layers[:, 3]
    assert torch.equal(still, frames[:, 0] if background == "first" else predictions[-2].frame)


@pytest.mark.parametrize("component", [FinnCDNA, FinnDNA])
def test_kernels_are_distributions_and_the_outside_is_black(component):
    transformation = component(bottleneck_shape=(8, 2, 3), feature_channels=5, num_warps=2, kernel_size=3)
    motion = transformation(torch.randn(2, 8, 2, 3), torch.randn(2, 5, 16, 24))
    assert (motion >= 0).all()
    torch.testing.assert_close(motion.sum(dim=(2, 3)), torch.ones_like(motion.sum(dim=(2, 3))))
    moved = transformation.warp(torch.ones(2, 3, 16, 24), motion)
    assert moved.shape == (2, 2, 3, 16, 24)
    torch.testing.assert_close(moved[..., 1:-1, 1:-1], torch.ones(2, 2, 3, 14, 22))
    assert (moved[..., 0, :] < 1).any()
    # one tap at the upper left fetches from there: the image goes down and right, and black comes in
    tap = torch.zeros_like(motion)
    tap[:, :, 0, 0] = 1.0
    image = drawn(2, 3, 16, 24)
    shifted = F.pad(image, (1, 0, 1, 0))[..., :-1, :-1]
    for warp in transformation.warp(image, tap).unbind(1):
        torch.testing.assert_close(warp, shifted)


def test_the_future_never_reaches_the_past_and_actions_count():
    generator = build(action_dim=2, state_dim=3)
    frames, actions, states = drawn(2, 4, 3, 16, 24), drawn(2, 4, 2), drawn(2, 4, 3)
    given = {"actions": actions, "states": states[:, :2]}
    before = [p.frame for p in rollout(generator, frames[:, :2], **given)]
    actions[:, 2] += 1
    after = [p.frame for p in rollout(generator, frames[:, :2], **given)]
    assert [torch.equal(x, y) for x, y in zip(before, after, strict=True)] == [True, True, False, False]


def test_the_robot_state_is_linear_and_learns_from_frames():
    generator = build(action_dim=2, state_dim=3)
    first, action = drawn(1, 3, 16, 24), drawn(1, 2)
    state = generator.initial_state(first)
    robot = drawn(1, 3).requires_grad_()
    prediction, state = generator.step(first, state, action=action, proprioception=robot)
    torch.testing.assert_close(
        prediction.proprioception, generator.state_model(torch.cat([action, robot], dim=1))
    )
    prediction.frame.square().sum().backward()
    assert robot.grad.abs().max() > 0  # unlike SAVP's, which stops it


def test_a_constant_latent_is_the_first_one_given():
    frames, latents = drawn(2, 1, 3, 16, 24), drawn(2, 4, 2 * AREA)
    repeated = latents[:, :1].expand(-1, 4, -1)
    per_step, constant = build(latent_dim=2 * AREA), build(latent_dim=2 * AREA, constant_latent=True)
    found = [p.frame for p in rollout(constant, frames, latents=latents)]
    for x, y in zip(found, rollout(per_step, frames, latents=repeated), strict=True):
        assert torch.equal(x, y.frame)
    assert not torch.equal(found[-1], rollout(per_step, frames, latents=latents)[-1].frame)


@pytest.mark.parametrize("constant_latent", [False, True])
def test_a_selected_state_goes_on_as_its_clip_would(constant_latent):
    generator = build(latent_dim=AREA, constant_latent=constant_latent)
    frames, latents, pixels = drawn(3, 3, 16, 24), drawn(3, 2, AREA), drawn(3, 2, 16, 24)
    pixels /= pixels.sum(dim=(2, 3), keepdim=True)
    picked = torch.tensor([2, 0, 2])
    with torch.no_grad():
        state = generator.initial_state(frames, pixels)
        prediction, state = generator.step(frames, state, latent=latents[:, 0], pixels=pixels)
        whole, _ = generator.step(prediction.frame, state, latent=latents[:, 1], pixels=prediction.pixels)
        part, _ = generator.step(
            prediction.frame[picked],
            state.select(picked),
            latent=latents[picked, 1],
            pixels=prediction.pixels[picked],
        )
    torch.testing.assert_close(part.frame, whole.frame[picked])
    torch.testing.assert_close(part.pixels, whole.pixels[picked])
    torch.testing.assert_close(part.pixels.sum(dim=(2, 3)), torch.ones(3, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"height": 20}, "20x24 do not fit.*multiples of 8"),
        ({"latent_dim": 4}, "multiple of 6, not 4"),
    ],
)
def test_sizes_that_do_not_fit_are_one_clear_line(options, words):
    with pytest.raises(ValueError, match=words) as error:
        build(**options)
    assert "\n" not in str(error.value)


def test_missing_inputs_are_one_clear_line():
    generator, frame = build(action_dim=2), drawn(1, 3, 16, 24)
    with pytest.raises(ValueError, match=r"sizes \(0, 2, 0\), not \(0, 0, 0\)"):
        generator.step(frame, generator.initial_state(frame))
    with pytest.raises(ValueError, match="to neither"):
        generator.step(frame, generator.initial_state(frame), action=drawn(1, 2), pixels=drawn(1, 1, 16, 24))


def test_the_whole_clip_is_one_gaussian():
    torch.manual_seed(0)
    encoder = VideoEncoder(num_frames=5, height=16, width=24, latent_dim=2 * AREA)
    assert isinstance(encoder, Posterior)
    video = drawn(2, 5, 3, 16, 24)
    read = encoder(video)
    assert read.mean.shape == read.log_variance.shape == (2, 4, 2 * AREA)
    assert (read.log_variance >= -5).all()
    for field in read:
        assert torch.equal(field, field[:, :1].expand(-1, 4, -1))
    one = type(read)(read.mean[:, :1], read.log_variance[:, :1])
    prior = FixedPrior(latent_dim=2 * AREA)
    torch.testing.assert_close(  # so its divergence is counted once, however long the clip
        kl_divergence(read, prior(video, 4)), kl_divergence(one, prior(video, 1))
    )
    for t in range(5):
        changed = video.clone()
        changed[:, t] = drawn(2, 3, 16, 24, seed=9)
        assert not torch.allclose(encoder(changed).mean, read.mean)


def test_a_shorter_clip_is_read_as_if_it_stood_still():
    encoder = VideoEncoder(num_frames=5, height=16, width=24, latent_dim=AREA)
    video = drawn(2, 3, 3, 16, 24)
    still = torch.cat([video, video[:, 2:], video[:, 2:]], dim=1)
    assert torch.equal(encoder(video).mean, encoder(still).mean[:, :2])
    with pytest.raises(ValueError, match="built for 5 frames, it was given 6"):
        encoder(drawn(2, 6, 3, 16, 24))
    with pytest.raises(ValueError, match="multiple of 6, not 8"):
        VideoEncoder(num_frames=5, height=16, width=24, latent_dim=8)
    with pytest.raises(ValueError, match="multiples of 8"):
        VideoEncoder(num_frames=5, height=18, width=24)
