from functools import partial

import pytest
import torch

from components.backbones import FrameGenerator
from components.backbones.recurrent_generator import RecurrentGenerator
from components.transformations.cdna import CDNA
from components.transformations.dna import DNA
from components.transformations.flow import Flow

ALL = [CDNA, DNA, Flow]


def build(component=CDNA, *, height=32, width=32, channels=4, **options):
    torch.manual_seed(0)
    return RecurrentGenerator(
        height=height, width=width, channels=channels, transformation=partial(component), **options
    )


def rollout(generator, frames, *, latents=None, actions=None, states=None, context=1, pixels=None):
    """Feed `context` frames of the truth, then the generator's own."""
    state, predictions = generator.initial_state(frames[:, 0], pixels), []
    steps = frames.shape[1] - 1
    for t in range(steps):
        known = t < context
        last = predictions[-1] if predictions else None
        prediction, state = generator.step(
            frames[:, t] if known else last.frame,
            state,
            latent=None if latents is None else latents[:, t],
            action=None if actions is None else actions[:, t],
            proprioception=None if states is None else states[:, t] if known else last.proprioception,
            pixels=None if pixels is None else pixels if known else last.pixels,
        )
        predictions.append(prediction)
    return predictions


def frames_of(predictions):
    return torch.stack([prediction.frame for prediction in predictions], dim=1)


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 6_683_161),  # BAIR, no actions
        ({"image_channels": 1, "latent_dim": 32}, 7_542_597),  # KTH
        ({"action_dim": 4, "state_dim": 3}, 6_932_945),  # BAIR, actions and states
    ],
)
def test_has_the_official_number_of_parameters(options, expected):
    with torch.device("meta"):
        generator = build(height=64, width=64, channels=32, **options)
    assert sum(parameter.numel() for parameter in generator.parameters()) == expected


@pytest.mark.parametrize(
    ("size", "recurrent"),
    [
        ((32, 48), [1, 1, 1, 0]),
        ((64, 72), [1, 1, 1, 1, 1, 0]),
        ((128, 160), [0, 1, 1, 1, 1, 1, 0, 0]),
        ((256, 320), [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]),
    ],
)
def test_depth_follows_the_shorter_side(size, recurrent):
    height, width = size
    with torch.device("meta"):
        generator = build(height=height, width=width, channels=1, latent_dim=0)
        frame = torch.zeros(2, 3, height, width)
        state = generator.initial_state(frame)
        prediction, after = generator.step(frame, state)
    assert [cell is not None for cell in state.cells] == [bool(x) for x in recurrent]
    assert prediction.frame.shape == frame.shape
    sizes = [cell and cell.cell.shape for cell in state.cells]
    assert sizes == [cell and cell.hidden.shape for cell in after.cells]


@pytest.mark.parametrize(
    ("size", "words"), [((24, 64), "too small"), ((36, 34), "multiples of 4"), ((64, 100), "multiples of 8")]
)
def test_sizes_that_do_not_fit_are_one_clear_line(size, words):
    with pytest.raises(ValueError, match=words) as error:
        build(height=size[0], width=size[1])
    assert "\n" not in str(error.value)
    assert f"{size[0]}x{size[1]}" in str(error.value)


@pytest.mark.parametrize("component", ALL)
def test_frames_are_convex_blends(component):
    generator = build(component, height=32, width=40, last_frames=2)
    for parameter in generator.parameters():
        parameter.data *= 3  # far from its start
    assert isinstance(generator, FrameGenerator)
    predictions = rollout(generator, drawn(2, 4, 3, 32, 40), latents=torch.randn(2, 3, 8))
    for prediction in predictions:
        assert prediction.layers.shape == (2, 11, 3, 32, 40)
        torch.testing.assert_close(prediction.masks.sum(1), torch.ones(2, 32, 40))
        assert (prediction.masks >= 0).all()
        assert prediction.frame.min() >= 0
        assert prediction.frame.max() <= 1 + 1e-6
        torch.testing.assert_close(
            prediction.frame, torch.einsum("bmhw,bmchw->bchw", prediction.masks, prediction.layers)
        )


def test_layers_are_warps_last_frame_first_frame_scratch():
    frames = drawn(2, 3, 3, 32, 32)
    last = rollout(build(), frames, latents=torch.randn(2, 2, 8), context=2)[-1]
    assert torch.equal(last.layers[:, 4], frames[:, 1])
    assert torch.equal(last.layers[:, 5], frames[:, 0])
    plain = build(previous_frame_background=False, scratch_image=False, dependent_masks=False)
    last = rollout(plain, frames, latents=torch.randn(2, 2, 8), context=2)[-1]
    assert last.layers.shape[1] == 5
    assert torch.equal(last.layers[:, 4], frames[:, 0])


def test_the_future_never_reaches_the_past():
    generator = build(action_dim=2)
    frames, latents, actions = drawn(2, 6, 3, 32, 32), torch.randn(2, 5, 8), torch.randn(2, 5, 2)
    before = frames_of(rollout(generator, frames, latents=latents, actions=actions, context=2))
    other = frames.clone()
    other[:, 2:] = drawn(2, 4, 3, 32, 32, seed=9)  # not context, so never fed
    assert torch.equal(
        before, frames_of(rollout(generator, other, latents=latents, actions=actions, context=2))
    )
    for moved in (latents, actions):
        moved[:, 3] += 1.0
        after = frames_of(rollout(generator, frames, latents=latents, actions=actions, context=2))
        assert torch.equal(before[:, :3], after[:, :3])
        assert (before[:, 3] - after[:, 3]).abs().max() > 0
        before = after


def test_the_first_frame_stays_in_view():
    generator = build()
    frames, latents = drawn(2, 5, 3, 32, 32), torch.randn(2, 4, 8)
    other = frames.clone()
    other[:, 0] = drawn(2, 3, 32, 32, seed=9)
    seen = [
        frames_of(rollout(generator, clip, latents=latents, context=4))[:, -1] for clip in (frames, other)
    ]
    assert (seen[0] - seen[1]).abs().mean() > 1e-3


def test_clips_of_a_batch_do_not_mix_and_a_selected_state_goes_on_alike():
    generator = build(state_dim=3, last_frames=2)
    frames, latents, states = drawn(2, 5, 3, 32, 32), torch.randn(2, 4, 8), torch.randn(2, 4, 3)
    pixels = drawn(2, 2, 32, 32)
    state = generator.initial_state(frames[:, 0], pixels)
    _, state = generator.step(
        frames[:, 0], state, latent=latents[:, 0], proprioception=states[:, 0], pixels=pixels
    )
    order = torch.tensor([1, 0, 1])
    chosen = state.select(order)
    given = {"latent": latents[:, 1], "proprioception": states[:, 1], "pixels": pixels}
    one, _ = generator.step(frames[:, 1], state, **given)
    two, _ = generator.step(frames[order, 1], chosen, **{name: x[order] for name, x in given.items()})
    for field in ("frame", "masks", "proprioception", "pixels"):
        torch.testing.assert_close(getattr(two, field), getattr(one, field)[order], rtol=0, atol=1e-6)


def test_the_state_path_and_the_image_path_do_not_train_each_other():
    generator = build(action_dim=2, state_dim=3)
    frame, states = drawn(2, 3, 32, 32), torch.randn(2, 3, requires_grad=True)
    given = {"latent": torch.randn(2, 8), "action": torch.randn(2, 2), "proprioception": states}
    prediction, _ = generator.step(frame, generator.initial_state(frame), **given)
    prediction.proprioception.sum().backward()
    own = set(generator.state_model.parameters())
    assert all((p.grad is not None) == (p in own) for p in generator.parameters())
    assert states.grad.abs().sum() > 0

    states.grad = None
    generator.zero_grad()
    prediction, _ = generator.step(frame, generator.initial_state(frame), **given)
    prediction.frame.sum().backward()
    assert states.grad is None
    assert all((p.grad is None) == (p in own) for p in generator.parameters())


@pytest.mark.parametrize("component", ALL)
def test_designated_pixels_keep_their_mass(component):
    pixels = torch.zeros(2, 2, 32, 32)
    pixels[:, 0, 0, 31] = 1.0  # a corner, where padding counts
    pixels[:, 1, 10, 12] = 1.0
    predictions = rollout(
        build(component), drawn(2, 4, 3, 32, 32), latents=torch.randn(2, 3, 8), pixels=pixels, context=2
    )
    for prediction in predictions:
        assert (prediction.pixels >= 0).all()
        torch.testing.assert_close(prediction.pixels.sum(dim=(2, 3)), torch.ones(2, 2))


@pytest.mark.parametrize("component", ALL)
def test_designated_pixels_move_as_the_image_does(component):
    generator = build(component, scratch_image=False, last_frames=2)
    frames = drawn(2, 3, 3, 32, 32)
    frames /= frames.sum(dim=(3, 4), keepdim=True)  # an image that is a pixel map in every channel
    state = generator.initial_state(frames[:, 0], frames[:, 0])
    for t in range(2):
        prediction, state = generator.step(frames[:, t], state, latent=torch.randn(2, 8), pixels=frames[:, t])
    expected = prediction.frame / prediction.frame.sum(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(prediction.pixels, expected, rtol=1e-4, atol=1e-9)


def test_missing_or_unexpected_inputs_are_one_clear_line():
    frame = drawn(1, 3, 32, 32)
    generator = build(action_dim=2)
    state = generator.initial_state(frame)
    with pytest.raises(ValueError, match=r"\(8, 2, 0\), not \(8, 0, 0\)"):
        generator.step(frame, state, latent=torch.zeros(1, 8))
    with pytest.raises(ValueError, match=r"not \(8, 2, 3\)"):
        generator.step(
            frame, state, latent=torch.zeros(1, 8), action=torch.zeros(1, 2), proprioception=torch.zeros(1, 3)
        )
    with pytest.raises(ValueError, match="designated pixels"):
        generator.step(
            frame, state, latent=torch.zeros(1, 8), action=torch.zeros(1, 2), pixels=drawn(1, 1, 32, 32)
        )


def test_every_parameter_learns():
    generator = build(action_dim=2, state_dim=3)
    predictions = rollout(
        generator,
        drawn(2, 4, 3, 32, 32),
        latents=torch.randn(2, 3, 8),
        actions=torch.randn(2, 3, 2),
        states=torch.randn(2, 3, 3),
        context=2,
    )
    (frames_of(predictions).square().mean() + predictions[-1].proprioception.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
