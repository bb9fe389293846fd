import pytest
import torch

from components.discriminators import Discriminator
from components.discriminators.image import ImageDiscriminator
from components.discriminators.video import VideoDiscriminator


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_has_the_official_number_of_parameters():
    with torch.device("meta"):
        assert parameters(VideoDiscriminator(height=64, width=64)) == 5_144_001
        assert parameters(VideoDiscriminator(height=64, width=64, image_channels=1)) == 5_142_273


def test_features_of_ten_frames_have_the_official_shapes():
    discriminator = VideoDiscriminator(height=64, width=64, channels=2)
    assert isinstance(discriminator, Discriminator)
    logits, features = discriminator(torch.rand(2, 10, 3, 64, 64))
    assert logits.shape == (2,)
    times_and_sides = [(10, 64), (9, 32), (9, 32), (8, 16), (8, 16), (4, 8), (4, 8)]
    widths = [2, 4, 4, 8, 8, 16, 16]
    expected = [(2, n, t, side, side) for n, (t, side) in zip(widths, times_and_sides, strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected
    assert discriminator.last_shape == expected[-1][1:]


@pytest.mark.parametrize(
    ("num_frames", "height", "width"), [(4, 8, 8), (5, 32, 32), (7, 32, 48), (12, 36, 30)]
)
def test_other_sizes_fit_their_own_last_layer(num_frames, height, width):
    discriminator = VideoDiscriminator(num_frames=num_frames, height=height, width=width, channels=2)
    assert discriminator(torch.rand(1, num_frames, 3, height, width))[0].shape == (1,)


def test_sizes_that_do_not_fit_are_one_clear_line():
    with pytest.raises(ValueError, match="at least 4 frames of 8x8"):
        VideoDiscriminator(num_frames=3, height=32, width=32)
    with pytest.raises(ValueError, match="8x8"):
        ImageDiscriminator(height=32, width=6)


@pytest.mark.parametrize("component", [VideoDiscriminator, ImageDiscriminator])
def test_every_kernel_comes_to_a_spectral_norm_of_one(component):
    torch.manual_seed(0)
    discriminator = component(height=16, width=16, num_frames=4, channels=4)
    clip = torch.rand(1, 4, 3, 16, 16)
    with torch.no_grad():
        for _ in range(150):
            discriminator(clip)
    for layer in [*discriminator.convolutions, discriminator.head]:
        assert layer.weight.requires_grad
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert norm.item() == pytest.approx(1.0, rel=0.01)


def test_eval_mode_leaves_the_spectral_norms_alone():
    discriminator = VideoDiscriminator(height=8, width=8, num_frames=4, channels=2)
    clip = torch.rand(2, 4, 3, 8, 8)
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    discriminator.eval()
    first = discriminator(clip)[0]
    assert torch.equal(first, discriminator(clip)[0])
    assert all(torch.equal(value, before[name]) for name, value in discriminator.state_dict().items())


def test_image_discriminator_judges_each_frame_alone():
    discriminator = ImageDiscriminator(height=16, width=24, num_frames=3, channels=2).eval()
    assert isinstance(discriminator, Discriminator)
    clip = torch.rand(2, 3, 3, 16, 24)
    logits, features = discriminator(clip)
    assert features[0].shape == (6, 2, 16, 24)
    assert features[-1].shape == (6, 16, 2, 3)
    alone = torch.cat([discriminator(clip[:, t : t + 1])[0] for t in range(3)])
    torch.testing.assert_close(logits, alone.view(3, 2).T.flatten())


def test_order_of_frames_matters_to_the_video_discriminator():
    torch.manual_seed(0)
    discriminator = VideoDiscriminator(height=16, width=16, num_frames=5, channels=4).eval()
    clip = torch.rand(2, 5, 3, 16, 16)
    assert (discriminator(clip)[0] - discriminator(clip.flip(1))[0]).abs().max() > 1e-4


@pytest.mark.parametrize("component", [VideoDiscriminator, ImageDiscriminator])
def test_gradients_reach_the_clip_and_all_weights(component):
    discriminator = component(height=16, width=16, num_frames=4, channels=2)
    clip = torch.rand(2, 4, 3, 16, 16, requires_grad=True)
    discriminator(clip)[0].sum().backward()
    assert clip.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in discriminator.parameters())
