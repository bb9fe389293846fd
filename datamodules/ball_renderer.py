"""Paints balls on white, touching only the pixels around each ball."""

import numpy as np
from jaxtyping import Float, UInt8

COLOURS = np.array([[255.0, 0.0, 0.0], [0.0, 0.0, 255.0]])  # ball 1 red, ball 2 blue


def render_balls(
    centres: Float[np.ndarray, "t n 2"],
    radii: Float[np.ndarray, " n"],
    *,
    height: int,
    width: int,
    softness: float = 0.03,
) -> UInt8[np.ndarray, "t 3 h w"]:
    """Frames of up to two discs that do not overlap.

    Centres and radii are fractions of the picture, x to the right and y up. Pixel i of n lies at i / (n - 1).
    A ball covers alpha = clip((r^2 - d^2) / (softness r^2), 0, 1) of a pixel at distance d (PhyWorld's
    renderer, with softness 0.03). At 0.03 the edge is thinner than a pixel up to 256 pixels, so a pixel flips
    as the ball passes; softness s makes the edge r (1 - sqrt(1 - s)) wide, in which motion far below a pixel
    shows as a change of grey.
    """
    video = np.full((len(centres), 3, height, width), 255, dtype=np.uint8)
    columns, rows = np.linspace(0, 1, width), np.linspace(0, 1, height)[::-1]
    for frame, places in zip(video, centres.tolist(), strict=True):
        for (x, y), r, colour in zip(places, radii.tolist(), COLOURS, strict=False):
            left, right = int((x - r) * (width - 1)), int((x + r) * (width - 1)) + 2
            top, bottom = int((1 - y - r) * (height - 1)), int((1 - y + r) * (height - 1)) + 2
            left, right, top, bottom = max(0, left), min(width, right), max(0, top), min(height, bottom)
            if left >= right or top >= bottom:
                continue
            distance_squared = (columns[left:right] - x) ** 2 + ((rows[top:bottom] - y) ** 2)[:, None]
            alpha = ((r**2 - distance_squared) / (softness * r**2)).clip(0, 1)
            box = frame[:, top:bottom, left:right]
            box[:] = np.rint((1 - alpha) * box + alpha * colour[:, None, None])
    return video
