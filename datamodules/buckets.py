"""Buckets: a few sizes and lengths that clips of all shapes are sorted into.

Clips of one batch must agree in shape. Sizes of about one area, one for each aspect ratio, and a few lengths
let videos of all shapes be used with little of them cropped and none of them padded.
"""

import math
from collections.abc import Sequence

Size = tuple[int, int]


def aspect_sizes(area: int, step: int, max_aspect: float) -> list[Size]:
    """Sizes (height, width) of about this area, from the tallest to the widest, sides multiples of step.

    A size differs from the area by at most step / 2 times its shorter side. max_aspect: longer side over
    shorter one. Raises ValueError where no size fits.
    """
    sizes = set()
    for short in range(step, math.isqrt(area) + step, step):
        long = round(area / short / step) * step
        if short <= long <= max_aspect * short:
            sizes |= {(short, long), (long, short)}
    if not sizes:
        raise ValueError(
            f"no multiples of {step} have an area of about {area} and an aspect to {max_aspect:g}"
        )
    return sorted(sizes, key=lambda size: (size[1] / size[0], size[0]))


def nearest_size(height: int, width: int, sizes: Sequence[Size]) -> Size:
    """The size of which the least is cropped: that of the nearest aspect ratio, as factors go."""
    return min(sizes, key=lambda size: abs(math.log(width * size[0] / (height * size[1]))))


def longest_that_fits(num_frames: int, lengths: Sequence[int]) -> int | None:
    """The longest of the lengths that so many frames have room for."""
    return max((length for length in lengths if length <= num_frames), default=None)
