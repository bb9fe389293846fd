"""Frame coders: sizes, skips, and whose frames a code depends on."""

import pytest
import torch
from torch import nn

from components.frame_coders import FrameCoder
from components.frame_coders.dcgan import DCGANCoder
from components.frame_coders.layers import norm, stage_widths
from components.frame_coders.vgg import VGGCoder

KINDS = [DCGANCoder, VGGCoder]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (64, 64), (48, 80), (40, 24)])
def test_any_size_comes_back_as_it_went(kind, height, width):
    coder = kind(height=height, width=width, image_channels=1, code_dim=6, channels=4)
    assert isinstance(coder, FrameCoder)
    frame = torch.rand(3, 1, height, width)
    code, skips = coder.encode(frame)
    assert code.shape == (3, 6)
    assert code.abs().max() <= 1
    made = coder.decode(code, skips)
    assert made.shape == frame.shape
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize(
    ("side", "expected"), [(32, [64, 128, 256]), (64, [64, 128, 256, 512]), (128, [64, 128, 256, 512, 512])]
)
def test_stages_follow_the_side(side, expected):
    assert stage_widths(side, side, 64) == expected


@pytest.mark.parametrize(("height", "width", "stride"), [(6, 64, 2), (33, 32, 8), (64, 72, 16)])
def test_sides_that_do_not_fit_are_one_clear_line(height, width, stride):
    with pytest.raises(ValueError, match=f"{height}x{width}.*multiples of {stride}"):
        DCGANCoder(height=height, width=width)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_decoder_copies_it_copies_from_the_skips(kind):
    coder = kind(height=16, width=16, code_dim=6, channels=4, normalisation="group")
    (one, skips), (other, elsewhere) = (coder.encode(torch.rand(2, 3, 16, 16)) for _ in range(2))
    assert not torch.equal(coder.decode(one, skips), coder.decode(one, elsewhere))
    assert not torch.equal(coder.decode(one, skips), coder.decode(other, skips))


@pytest.mark.parametrize("kind", KINDS)
def test_group_norm_sees_each_frame_alone_and_batch_norm_in_training_does_not(kind):
    frames = torch.rand(4, 3, 16, 16)
    for normalisation, alone in (("group", True), ("batch", False)):
        coder = kind(height=16, width=16, code_dim=6, channels=4, normalisation=normalisation)
        together, part = coder.encode(frames), coder.encode(frames[:2])
        same = torch.allclose(together.code[:2], part.code, atol=1e-6)
        assert same == alone
        coder.eval()
        torch.testing.assert_close(coder.encode(frames).code[:2], coder.encode(frames[:2]).code)


@pytest.mark.parametrize(
    ("channels", "groups"), [(4, 1), (16, 1), (24, 1), (32, 2), (48, 3), (64, 4), (512, 32)]
)
def test_groups_are_of_sixteen_channels_where_that_divides(channels, groups):
    assert norm("group", channels).num_groups == groups


@pytest.mark.parametrize("kind", KINDS)
def test_first_weights_are_svgs(kind):
    coder = kind(height=32, width=32)
    for part in coder.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert not part.bias.any()
        if isinstance(part, nn.BatchNorm2d):
            assert part.weight.mean().item() == pytest.approx(1.0, abs=0.02)
