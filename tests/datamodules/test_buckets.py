"""Sizes of one area, and the one that a video loses least in."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.buckets import aspect_sizes, longest_that_fits, nearest_size


@given(side=st.integers(2, 40), step=st.sampled_from([4, 8, 16, 32]), aspect=st.floats(1.0, 4.0))
def test_sizes_keep_the_area_and_the_step(side, step, aspect):
    area = (side * step) ** 2
    sizes = aspect_sizes(area, step, aspect)
    assert (side * step, side * step) in sizes
    assert {(width, height) for height, width in sizes} == set(sizes)
    for height, width in sizes:
        assert height % step == width % step == 0
        assert max(height, width) <= aspect * min(height, width)
        assert abs(height * width - area) <= step / 2 * min(height, width)
    assert sizes == sorted(sizes, key=lambda size: size[1] / size[0])


def test_a_known_set_of_sizes():
    assert aspect_sizes(32 * 32, 8, 2.0) == [(40, 24), (32, 32), (24, 40)]
    sides = {height for height, _ in aspect_sizes(640 * 640, 32, 2.5)}
    assert {416, 448, 480, 512, 544, 576, 608, 640} <= sides


def test_an_area_without_sizes_is_an_error():
    with pytest.raises(ValueError, match="no multiples of 64 have an area of about 256"):
        aspect_sizes(16 * 16, 64, 2.0)


@given(height=st.integers(16, 2000), width=st.integers(16, 2000))
def test_the_nearest_size_crops_least(height, width):
    sizes = aspect_sizes(256 * 256, 16, 2.0)
    chosen = nearest_size(height, width, sizes)

    def kept(size):  # share of the picture that is left when it covers the size
        scale = max(size[0] / height, size[1] / width)
        return size[0] * size[1] / (height * width * scale**2)

    assert math.isclose(kept(chosen), max(map(kept, sizes)))


def test_lengths():
    assert longest_that_fits(40, [9, 17, 33, 65]) == 33
    assert longest_that_fits(17, [9, 17]) == 17
    assert longest_that_fits(8, [9, 17]) is None
