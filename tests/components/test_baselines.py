import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.baselines.constant_velocity import ConstantVelocity
from components.baselines.copy_last import CopyLast
from components.metrics.psnr import psnr

GROUND, RED = 0.85, (0.8, 0.2, 0.1)


def discs(places: Tensor, radius: float, size: int = 64) -> Tensor:
    """A disc with soft edges on a flat ground: places (t, 2) of its centre, (x, y) -> (1, t, 3, h, w)."""
    axis = torch.arange(size, dtype=torch.float32)
    distance = ((axis - places[:, :1]).square()[:, None] + (axis - places[:, 1:]).square()[:, :, None]).sqrt()
    alpha = (radius + 0.5 - distance).clamp(0, 1)[:, None]
    return (alpha * torch.tensor(RED)[:, None, None] + (1 - alpha) * GROUND)[None]


def test_copy_last_copies_the_last():
    context = torch.rand(2, 3, 3, 8, 8)
    predicted = CopyLast()(context, 4)
    assert predicted.shape == (2, 4, 3, 8, 8)
    assert all(torch.equal(predicted[:, i], context[:, -1]) for i in range(4))


@settings(max_examples=15, deadline=None)
@given(
    dx=st.integers(-8, 8),
    dy=st.integers(-8, 8),
    radius=st.sampled_from([3.0, 6.0, 10.0]),
    textured=st.booleans(),
)
def test_whole_pixel_motion_over_a_flat_ground_is_exact(dx, dy, radius, textured):
    times = torch.arange(5.0)[:, None]
    # far enough from the sides before the prediction starts; it may leave the frame later
    centre = torch.tensor([32.0 - dx, 32.0 - dy])
    video = discs(centre + times * torch.tensor([dx, dy]), radius)
    if textured:
        pattern = 0.7 + 0.3 * torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(dx))
        moved = [torch.roll(pattern, (t * dy, t * dx), dims=(1, 2)) for t in range(5)]
        video = torch.where((video - GROUND).abs() > 1e-3, video * torch.stack(moved), video)
    predicted = ConstantVelocity()(video[:, :2], 3)
    torch.testing.assert_close(predicted, video[:, 2:], rtol=0, atol=1e-5)


def test_fractions_of_a_pixel_are_found():
    times = torch.arange(12.0)[:, None]
    video = torch.cat(
        [
            discs(torch.tensor([24.0, 30.0]) + times * torch.tensor(v), 5.0)
            for v in ([1.3, -0.7], [-0.4, 0.25])
        ]
    )
    moved, copied = ConstantVelocity()(video[:, :2], 10), CopyLast()(video[:, :2], 10)
    truth = video[:, 2:]
    assert torch.all(psnr(moved, truth).mean(1) > 32)
    assert torch.all(psnr(moved, truth).mean(1) > psnr(copied, truth).mean(1) + 10)


def test_two_objects_and_a_still_one():
    times = torch.arange(6.0)[:, None]
    moving = [
        discs(torch.tensor(p) + times * torch.tensor(v), 4.0)
        for p, v in (([14.0, 14.0], [2.0, 1.0]), ([48.0, 48.0], [-3.0, 0.0]), ([50.0, 10.0], [0.0, 0.0]))
    ]
    video = torch.stack(moving).amin(dim=0)
    predicted = ConstantVelocity()(video[:, :2], 4)
    assert torch.all(psnr(predicted, video[:, 2:]) > 40)
    assert torch.equal(predicted[..., :20, 40:], video[:, 2:, :, :20, 40:])


def test_still_noisy_video_stays_still():
    generator = torch.Generator().manual_seed(0)
    video = 0.5 + 0.02 * torch.randn(2, 2, 3, 64, 64, generator=generator)
    predicted = ConstantVelocity()(video, 3)
    assert (predicted != video[:, -1:]).float().mean() < 0.01


def test_panning_camera():
    generator = torch.Generator().manual_seed(0)
    scene = torch.nn.functional.interpolate(
        torch.rand(1, 3, 24, 24, generator=generator), size=(144, 144), mode="bicubic"
    ).clamp(0, 1)
    video = torch.stack([scene[..., 40 : 40 + 64, 20 + 3 * t : 84 + 3 * t] for t in range(6)], dim=1)
    predicted = ConstantVelocity()(video[:, :2], 4)
    seen = [predicted[..., k, :, :, : 64 - 3 * (k + 1)] for k in range(4)]
    for k, frame in enumerate(seen):
        torch.testing.assert_close(frame, video[..., 2 + k, :, :, : 64 - 3 * (k + 1)], rtol=0, atol=1e-3)
    assert psnr(predicted, video[:, 2:]).mean() > psnr(CopyLast()(video[:, :2], 4), video[:, 2:]).mean() + 6


@pytest.mark.parametrize("size", [33, 130])
def test_odd_and_large_frames(size):
    times = torch.arange(4.0)[:, None] * size / 32
    video = discs(torch.tensor([size / 3, size / 2]) + times * torch.tensor([1.0, 0.0]), size / 9, size)
    moved, copied = ConstantVelocity()(video[:, :2], 2), CopyLast()(video[:, :2], 2)
    assert torch.all(psnr(moved, video[:, 2:]) > psnr(copied, video[:, 2:]) + 5)


def test_one_context_frame_is_copied_and_nothing_is_invented():
    context = torch.rand(2, 1, 3, 16, 16)
    assert torch.equal(ConstantVelocity()(context, 2), CopyLast()(context, 2))
    jumpy = torch.rand(8, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    predicted = ConstantVelocity()(jumpy, 3)
    assert 0 <= predicted.min() <= predicted.max() <= 1


def test_it_is_quick():
    video = torch.rand(16, 2, 3, 64, 64)
    start = time.perf_counter()
    ConstantVelocity()(video, 10)
    assert time.perf_counter() - start < 5  # a third of a second on an idle core
