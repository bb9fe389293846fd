"""Balls in a 10 x 10 world, moved exactly: uniform motion, head-on collision, parabola.

The protocol of "How Far is Video Generation from World Model" (PhyWorld, arXiv 2411.02385) and its released
generators: ranges, placement, elastic collisions of discs with mass r^2, gravity 2.5. Everything is float64
and in closed form between events, so there is no time step to choose; Box2D, which the original uses, starts
0.01 s later and treats impacts slower than 1.0 as inelastic.

| world | draws | in | out |
|---|---|---|---|
| uniform, parabola | radius | 0.7-1.4 | 0.3-0.6, 1.5-2.0 |
| collision | both radii | 0.5-1.5 | 0.3-0.4, 1.7-2.0 |
| all | speeds | 1-4 | 0-0.8, 4.5-6 |

Draws are uniform in a range, and of two ranges each is as likely. Clips shorter than the original's 32 frames
keep its proportions: a ball stays in view for 3/4 of the clip, and a collision has a quarter of the clip on
either side. Longer clips keep its 24 and 8 frames.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

WORLD_SIZE = 10.0
FRAME_TIME = 0.1
GRAVITY = 2.5
ORIGINAL_FRAMES = 32
FRAMES_IN_VIEW = 24
FRAMES_BESIDE_COLLISION = 8
MARGIN = 0.05 * WORLD_SIZE
PUSH_RATE = 0.1  # a push at every tenth frame, and when the ball is about to leave
LOOK_AHEAD = 0.3  # seconds

Regime = Literal["in", "radius_out", "velocity_out", "both_out"]
Ranges = tuple[tuple[float, float], ...]

SPEEDS_IN: Ranges = ((1.0, 4.0),)
SPEEDS_OUT: Ranges = ((0.0, 0.8), (4.5, 6.0))
SINGLE_RADII_IN: Ranges = ((0.7, 1.4),)
SINGLE_RADII_OUT: Ranges = ((0.3, 0.6), (1.5, 2.0))
PAIR_RADII_IN: Ranges = ((0.5, 1.5),)
PAIR_RADII_OUT: Ranges = ((0.3, 0.4), (1.7, 2.0))


@dataclass(frozen=True, slots=True)
class Ball:
    """A disc of mass r^2; x to the right, y up."""

    x: float
    y: float
    vx: float
    vy: float
    r: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two balls at frame 0 and what pulls them down."""

    balls: tuple[Ball, ...]
    gravity: float = 0.0


Draw = Callable[[np.random.Generator, Ranges, Ranges, int], Scene]  # radii, speeds, number of frames


def fly(ball: Ball, seconds: float, gravity: float) -> Ball:
    """Free flight: y(t) = y + vy t - g t^2 / 2."""
    return Ball(
        ball.x + ball.vx * seconds,
        ball.y + ball.vy * seconds - 0.5 * gravity * seconds**2,
        ball.vx,
        ball.vy - gravity * seconds,
        ball.r,
    )


def contact_time(a: Ball, b: Ball) -> float:
    """Seconds until two freely flying balls touch, infinite if they never do.

    On one line this is (|x2 - x1| - r1 - r2) / (v1 - v2); a common gravity makes no difference.
    """
    px, py = b.x - a.x, b.y - a.y
    wx, wy = b.vx - a.vx, b.vy - a.vy
    closing = -(px * wx + py * wy)
    if closing <= 0.0:
        return math.inf
    gap = px**2 + py**2 - (a.r + b.r) ** 2
    miss = closing**2 - (wx**2 + wy**2) * gap
    if miss < 0.0:
        return math.inf
    return max(0.0, gap / (closing + math.sqrt(miss)))


def bounce(a: Ball, b: Ball) -> tuple[Ball, Ball]:
    """Elastic impact of two touching discs: the momentum exchanged lies along the line of centres."""
    distance = math.hypot(b.x - a.x, b.y - a.y)
    nx, ny = (b.x - a.x) / distance, (b.y - a.y) / distance
    closing = (a.vx - b.vx) * nx + (a.vy - b.vy) * ny
    mass_a, mass_b = a.r**2, b.r**2
    loss_a = 2.0 * mass_b / (mass_a + mass_b) * closing
    gain_b = 2.0 * mass_a / (mass_a + mass_b) * closing
    return (
        replace(a, vx=a.vx - loss_a * nx, vy=a.vy - loss_a * ny),
        replace(b, vx=b.vx + gain_b * nx, vy=b.vy + gain_b * ny),
    )


def advance(balls: tuple[Ball, ...], seconds: float, gravity: float) -> tuple[Ball, ...]:
    """Move one or two balls; two balls meet once at most, since nothing brings them together again."""
    if len(balls) == 2 and (until := contact_time(*balls)) < seconds:
        a, b = (fly(ball, until, gravity) for ball in balls)
        balls, seconds = bounce(a, b), seconds - until
    return tuple(fly(ball, seconds, gravity) for ball in balls)


def simulate(
    scene: Scene, num_frames: int, push: Callable[[Ball], tuple[float, float]] | None = None
) -> tuple[list[tuple[Ball, ...]], Float[np.ndarray, "t-1 2"]]:
    """Balls at each frame, and pushes; pushes[i] is added to ball 1's velocity right after frame i."""
    balls, frames = scene.balls, [scene.balls]
    pushes = np.zeros((num_frames - 1, 2), dtype=np.float32)
    for i in range(num_frames - 1):
        if push is not None:
            pushes[i] = push(balls[0])
            dvx, dvy = float(pushes[i, 0]), float(pushes[i, 1])  # rounded to float32, as the model sees them
            balls = (replace(balls[0], vx=balls[0].vx + dvx, vy=balls[0].vy + dvy), *balls[1:])
        balls = advance(balls, FRAME_TIME, scene.gravity)
        frames.append(balls)
    return frames, pushes


def draw_push(rng: np.random.Generator, ball: Ball, speeds: Ranges) -> tuple[float, float]:
    """Mostly zero; now and then, and when the ball is about to leave, what sends it to a place in view."""
    if not _about_to_leave(ball) and rng.random() >= PUSH_RATE:
        return 0.0, 0.0
    reach = WORLD_SIZE - 2 * (ball.r + MARGIN)
    dx = ball.r + MARGIN + reach * rng.random() - ball.x
    dy = ball.r + MARGIN + reach * rng.random() - ball.y
    pace = _draw_from(rng, speeds) / max(math.hypot(dx, dy), 1e-9)
    return pace * dx - ball.vx, pace * dy - ball.vy


def draw_uniform(rng: np.random.Generator, radii: Ranges, speeds: Ranges, num_frames: int) -> Scene:
    """One ball that moves right at a random height."""
    r, v = _draw_from(rng, radii), _draw_from(rng, speeds)
    x = _draw_start(rng, r, v, num_frames)
    return Scene((Ball(x, rng.uniform(r + MARGIN, WORLD_SIZE - MARGIN - r), v, 0.0, r),))


def draw_parabola(rng: np.random.Generator, radii: Ranges, speeds: Ranges, num_frames: int) -> Scene:
    """One ball thrown to the right from the top of the world."""
    r, v = _draw_from(rng, radii), _draw_from(rng, speeds)
    x, top = _draw_start(rng, r, v, num_frames), WORLD_SIZE - MARGIN - r
    return Scene((Ball(x, rng.uniform(top - 1.0, top), v, 0.0, r),), GRAVITY)


def draw_collision(rng: np.random.Generator, radii: Ranges, speeds: Ranges, num_frames: int) -> Scene:
    """Two balls at the same height that run into each other; both are in full view at frame 0.

    Radii and speeds that leave no room for the run-up are drawn again, as the original drops them. A ball
    more than twice as large as the other starts at its border, so that the small one, thrown back, is seen.
    """
    beside = FRAMES_BESIDE_COLLISION * min(1.0, num_frames / ORIGINAL_FRAMES)
    while True:
        r1, r2 = _draw_from(rng, radii), _draw_from(rng, radii)
        v1, v2 = _draw_from(rng, speeds), _draw_from(rng, speeds)
        nearest = r1 + r2 + beside * FRAME_TIME * (v1 + v2)
        if nearest <= WORLD_SIZE - r1 - r2:
            break
    farthest = r1 + r2 + (num_frames - beside) * FRAME_TIME * (v1 + v2)
    if max(r1, r2) > 2 * min(r1, r2):
        farthest = min(farthest, 1.25 * nearest)
    distance = rng.uniform(nearest, min(farthest, WORLD_SIZE - r1 - r2))
    left, right = r1, WORLD_SIZE - r2 - distance
    if r1 > 2 * r2:
        right = min(right, left + MARGIN)
    elif r2 > 2 * r1:
        left = max(left, right - MARGIN)
    x, height = rng.uniform(left, right), max(r1, r2) + MARGIN
    y = rng.uniform(height, WORLD_SIZE - height)
    return Scene((Ball(x, y, v1, 0.0, r1), Ball(x + distance, y, -v2, 0.0, r2)))


def _draw_from(rng: np.random.Generator, ranges: Ranges) -> float:
    low, high = ranges[rng.integers(len(ranges))]
    return rng.uniform(low, high)


def _draw_start(rng: np.random.Generator, r: float, v: float, num_frames: int) -> float:
    frames = FRAMES_IN_VIEW * min(1.0, num_frames / ORIGINAL_FRAMES)
    last = WORLD_SIZE - r - frames * FRAME_TIME * v
    if last < r:  # too fast to stay in view that long
        last = r + rng.uniform(0.0, 0.5)
    return rng.uniform(r, last)


def _about_to_leave(ball: Ball) -> bool:
    middle, room = WORLD_SIZE / 2, WORLD_SIZE / 2 - ball.r
    for place, speed in ((ball.x, ball.vx), (ball.y, ball.vy)):
        ahead = place + speed * LOOK_AHEAD
        if abs(ahead - middle) > max(room, abs(place - middle)):
            return True
    return False
