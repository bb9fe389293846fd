"""The painter that touches few pixels equals one that touches all."""

import numpy as np
import pytest

from datamodules.ball_renderer import render_balls


def paint_densely(centres, radii, height, width, softness):
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    video = np.full((len(centres), height, width, 3), 255.0)
    for n, (r, colour) in enumerate(zip(radii, [(255, 0, 0), (0, 0, 255)], strict=False)):
        for frame, (cx, cy) in zip(video, centres[:, n], strict=True):
            alpha = np.clip((r**2 - ((x - cx) ** 2 + (y - cy) ** 2)) / (softness * r**2), 0, 1)[..., None]
            frame[:] = (1 - alpha) * frame + alpha * np.array(colour)
    return np.rint(video).astype(np.uint8)[:, ::-1].transpose(0, 3, 1, 2)


@pytest.mark.parametrize("softness", [0.03, 0.5])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (17, 40)])
def test_painter_equals_dense_painter(height, width, softness):
    rng = np.random.default_rng(0)
    r1, r2 = 0.13, 0.06
    centres = rng.uniform(-0.4, 1.4, (200, 2, 2))  # in, half out and out of the picture
    angle = rng.uniform(0, 2 * np.pi, 100)
    centres[:100, 1] = centres[:100, 0] + (r1 + r2) * np.stack([np.cos(angle), np.sin(angle)], 1)  # touching
    apart = np.hypot(*(centres[:, 0] - centres[:, 1]).T) >= r1 + r2 - 1e-9
    for radii in (np.array([r1, r2]), np.array([r1])):
        sparse = render_balls(centres[apart], radii, height=height, width=width, softness=softness)
        assert (sparse == paint_densely(centres[apart], radii, height, width, softness)).all()


def test_up_is_up_and_ball_1_is_red():
    (frame,) = render_balls(np.array([[[0.2, 0.8], [0.8, 0.2]]]), np.array([0.1, 0.1]), height=41, width=41)
    assert frame[:, 8, 8].tolist() == [255, 0, 0]
    assert frame[:, 32, 32].tolist() == [0, 0, 255]
    assert frame[:, 8, 32].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("softness", "blur"), [(0.03, 0.2), (0.5, 0.05)])
def test_the_painted_centre_is_the_true_one_to_a_part_of_a_pixel(softness, blur):
    centres = np.random.default_rng(0).uniform(0.3, 0.7, (200, 1, 2))
    video = render_balls(centres, np.array([0.1]), height=32, width=32, softness=softness)
    red = 255.0 - video[:, 1]
    x = (red * np.linspace(0, 1, 32)).sum((1, 2)) / red.sum((1, 2))
    assert np.sqrt(np.mean(((x - centres[:, 0, 0]) * 31) ** 2)) < blur
