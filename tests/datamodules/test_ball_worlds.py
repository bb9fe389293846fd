"""Flights and impacts follow the textbook, wherever the balls are and however time is cut."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datamodules.ball_worlds import Ball, advance, bounce, contact_time, fly

plenty = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
speed = st.floats(-6, 6)
radius = st.floats(0.3, 2.0)
two_balls = st.builds(
    lambda r1, r2, v1, v2, angle, gap: (
        Ball(5.0, 5.0, *v1, r1),
        Ball(5.0 + (r1 + r2 + gap) * math.cos(angle), 5.0 + (r1 + r2 + gap) * math.sin(angle), *v2, r2),
    ),
    radius,
    radius,
    st.tuples(speed, speed),
    st.tuples(speed, speed),
    st.floats(-math.pi, math.pi),
    st.floats(0.001, 3.0),
)


def momentum_and_energy(state):
    mass, velocity = state[..., 4] ** 2, state[..., 2:4]
    return (mass[..., None] * velocity).sum(-2), (0.5 * mass * (velocity**2).sum(-1)).sum(-1)


@plenty
@given(v1=st.floats(0.5, 6), v2=st.floats(0, 6), r1=radius, r2=radius, gap=st.floats(0.01, 5))
def test_head_on_collision_follows_the_textbook(v1, v2, r1, r2, gap):
    a, b = Ball(2.0, 4.0, v1, 0.0, r1), Ball(2.0 + r1 + r2 + gap, 4.0, -v2, 0.0, r2)
    seconds = contact_time(a, b)
    assert seconds == pytest.approx(((b.x - a.x) - r1 - r2) / (v1 + v2), rel=1e-9)
    after_a, after_b = bounce(fly(a, seconds, 0.0), fly(b, seconds, 0.0))
    m1, m2 = r1**2, r2**2
    assert after_a.vx == pytest.approx(((m1 - m2) * v1 - 2 * m2 * v2) / (m1 + m2), abs=1e-12)
    assert after_b.vx == pytest.approx((-(m2 - m1) * v2 + 2 * m1 * v1) / (m1 + m2), abs=1e-12)
    assert after_a.vy == after_b.vy == 0.0


@plenty
@given(two_balls)
def test_oblique_collision_keeps_momentum_energy_and_distance(pair):
    seconds = contact_time(*pair)
    assume(seconds < 10.0)
    a, b = (fly(ball, seconds, 0.0) for ball in pair)
    assert math.hypot(b.x - a.x, b.y - a.y) == pytest.approx(a.r + b.r, abs=1e-7)
    before = momentum_and_energy(np.array([[[p.x, p.y, p.vx, p.vy, p.r] for p in (a, b)]]))
    after = momentum_and_energy(np.array([[[p.x, p.y, p.vx, p.vy, p.r] for p in bounce(a, b)]]))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12, atol=1e-12 * before[1].max())


@plenty
@given(two_balls, st.integers(2, 7))
def test_frame_time_does_not_matter(pair, parts):
    whole, steps = advance(pair, 1.0, 2.5), pair
    for _ in range(parts):
        steps = advance(steps, 1.0 / parts, 2.5)
    assume(not any(abs(contact_time(*pair) - i / parts) < 1e-6 for i in range(parts + 1)))
    for one, other in zip(whole, steps, strict=True):
        assert (one.x, one.y) == pytest.approx((other.x, other.y), abs=1e-6)  # grazing hits amplify rounding


def test_balls_that_part_or_miss_never_touch():
    left, right = Ball(2.0, 5.0, -1.0, 0.0, 1.0), Ball(8.0, 5.0, 1.0, 0.0, 1.0)
    assert contact_time(left, right) == math.inf
    assert contact_time(replace(left, vx=4.0, y=1.0), right) == math.inf
