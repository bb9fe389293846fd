import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from components.transformations import Transformation
from components.transformations.cdna import CDNA, as_distribution, identity_kernel, pad_symmetric
from components.transformations.dna import DNA
from components.transformations.flow import Flow

SHAPE = {"bottleneck_shape": (6, 4, 5), "feature_channels": 7}
ALL = [CDNA, DNA, Flow]


def build(component, **options):
    torch.manual_seed(0)
    return component(**SHAPE, **options).double()


def scene(batch=2, channels=3, height=16, width=20):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(batch, channels, height, width, generator=rng, dtype=torch.float64)
    bottleneck = torch.randn(batch, 6, 4, 5, generator=rng, dtype=torch.float64)
    features = torch.randn(batch, 7, height, width, generator=rng, dtype=torch.float64)
    return images, bottleneck, features


@pytest.mark.parametrize("component", ALL)
def test_gives_every_warp_of_every_frame(component):
    images, bottleneck, features = scene()
    transformation = build(component, num_frames=2, num_warps=3)
    assert isinstance(transformation, Transformation)
    motion = transformation(bottleneck, features)
    assert motion.shape[1] == 6
    assert transformation.warp(images, motion[:, :3]).shape == (2, 3, 3, 16, 20)
    assert transformation.regulariser(motion).shape == ()


@pytest.mark.parametrize("component", [CDNA, DNA])
def test_taps_are_a_distribution_whatever_the_weights(component):
    _, bottleneck, features = scene()
    transformation = build(component)
    for parameter in transformation.parameters():
        parameter.data *= 50
    motion = transformation(bottleneck, features)
    assert (motion >= 0).all()
    torch.testing.assert_close(motion.sum(dim=(2, 3)), torch.ones_like(motion[:, :, 0, 0]))
    assert (motion.flatten(2).amax(2) < 1).any()  # the weights were large enough to leave the identity


def test_identity_kernel_gives_the_image_back_exactly():
    images = scene()[0].float()
    kernels = identity_kernel(5).expand(2, 1, 5, 5)
    assert torch.equal(build(CDNA).warp(images, kernels)[:, 0], images)
    everywhere = kernels[..., None, None].expand(-1, -1, -1, -1, 16, 20)
    assert torch.equal(build(DNA).warp(images, everywhere)[:, 0], images)
    torch.testing.assert_close(
        build(CDNA).warp(images, as_distribution(kernels))[:, 0], images, rtol=0, atol=1e-7
    )
    assert torch.equal(identity_kernel(4), F.pad(torch.full((2, 2), 0.25), (1, 1, 1, 1)))


@pytest.mark.parametrize("component", ALL)
def test_starts_near_the_identity(component):
    images, bottleneck, features = scene()
    transformation = build(component)
    warped = transformation.warp(images, transformation(bottleneck, features))
    assert (warped - images[:, None]).abs().mean() < 0.25


@pytest.mark.parametrize("size", [1, 3, 4, 5, 9])
def test_symmetric_padding_is_numpys(size):
    images = scene()[0]
    before, after = (size - 1) // 2, size // 2
    expected = np.pad(images.numpy(), [(0, 0), (0, 0), (before, after), (before, after)], mode="symmetric")
    assert np.array_equal(pad_symmetric(images, size).numpy(), expected)


@settings(max_examples=20, deadline=None)
@given(value=st.floats(0, 1), seed=st.integers(0, 1000), size=st.sampled_from([3, 5, 9]))
def test_a_constant_image_stays_constant_under_any_kernel(value, seed, size):
    rng = torch.Generator().manual_seed(seed)
    kernels = as_distribution(torch.randn(2, 3, size, size, generator=rng, dtype=torch.float64))
    image = torch.full((2, 1, 12, 10), value, dtype=torch.float64)
    warped = build(CDNA, kernel_size=size).warp(image, kernels)
    torch.testing.assert_close(warped, image[:, None].expand_as(warped))


def test_cdna_is_one_correlation_a_clip_and_kernel():
    images, bottleneck, features = scene()
    cdna = build(CDNA)
    cdna.kernels.weight.data *= 20
    motion = cdna(bottleneck, features)
    warped = cdna.warp(images, motion)
    padded = pad_symmetric(images, 5)
    for b in range(2):
        for m in range(4):
            expected = F.conv2d(padded[b][:, None], motion[b, m][None, None])[:, 0]
            torch.testing.assert_close(warped[b, m], expected, rtol=0, atol=1e-12)


def test_dna_with_one_kernel_everywhere_is_cdna():
    images, bottleneck, features = scene()
    cdna = build(CDNA)
    cdna.kernels.weight.data *= 20
    motion = cdna(bottleneck, features)
    everywhere = motion[..., None, None].expand(*motion.shape, 16, 20)
    torch.testing.assert_close(
        build(DNA).warp(images, everywhere), cdna.warp(images, motion), rtol=0, atol=1e-12
    )


def test_flow_fetches_from_where_it_points_and_stops_at_the_border():
    images = scene()[0]
    motion = torch.zeros(2, 1, 2, 16, 20, dtype=torch.float64)
    flow = build(Flow)
    torch.testing.assert_close(flow.warp(images, motion)[:, 0], images, rtol=0, atol=1e-12)
    motion[:, :, 0], motion[:, :, 1] = 3, -2
    columns = torch.arange(20).add(3).clamp(max=19)
    rows = torch.arange(16).sub(2).clamp(min=0)
    expected = images[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(flow.warp(images, motion)[:, 0], expected, rtol=0, atol=1e-12)
    motion[:, :, 0], motion[:, :, 1] = 0.25, 0
    between = 0.75 * images[..., :-1] + 0.25 * images[..., 1:]
    torch.testing.assert_close(flow.warp(images, motion)[:, 0, ..., :-1], between, rtol=0, atol=1e-12)


def test_total_variation_of_known_flows():
    flow = build(Flow)
    motion = torch.full((2, 3, 2, 8, 8), 5.0, dtype=torch.float64)
    assert flow.regulariser(motion) == 0
    ramp = torch.arange(8, dtype=torch.float64)
    motion[:, 0, 0] = 0.5 * ramp  # x grows by 0.5 a column in one warp
    motion[:, 2, 1] = -2 * ramp[:, None]  # y falls by 2 a row in another
    assert flow.regulariser(motion).item() == pytest.approx(2.5)
    assert build(CDNA).regulariser(torch.ones(1, 1, 5, 5)) == 0


@pytest.mark.parametrize("component", ALL)
def test_gradients_reach_images_and_weights(component):
    images, bottleneck, features = scene()
    images.requires_grad_()
    transformation = build(component)
    transformation.warp(images, transformation(bottleneck, features)).square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in transformation.parameters())
