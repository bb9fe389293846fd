"""Balls that move, collide and fall: simulated exactly, rendered while training, nothing to download."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.ball_renderer import render_balls
from datamodules.ball_worlds import (
    FRAME_TIME,
    PAIR_RADII_IN,
    PAIR_RADII_OUT,
    SINGLE_RADII_IN,
    SINGLE_RADII_OUT,
    SPEEDS_IN,
    SPEEDS_OUT,
    WORLD_SIZE,
    Ball,
    Draw,
    Ranges,
    Regime,
    draw_collision,
    draw_parabola,
    draw_push,
    draw_uniform,
    simulate,
)
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_of


@dataclass(frozen=True)
class World:
    """How a world is drawn, from which radii, and what its caption says."""

    draw: Draw
    radii_in: Ranges
    radii_out: Ranges
    caption: str


WORLDS = {
    "uniform": World(
        draw_uniform,
        SINGLE_RADII_IN,
        SINGLE_RADII_OUT,
        "A {size1} red ball moves {speed1} to the right",
    ),
    "collision": World(
        draw_collision,
        PAIR_RADII_IN,
        PAIR_RADII_OUT,
        "A {size1} red ball moving {speed1} to the right heads for "
        "a {size2} blue ball moving {speed2} to the left",
    ),
    "parabola": World(
        draw_parabola,
        SINGLE_RADII_IN,
        SINGLE_RADII_OUT,
        "A {size1} red ball, thrown {speed1} to the right, falls in an arc",
    ),
}
RADIUS_OUT: tuple[Regime, ...] = ("radius_out", "both_out")
VELOCITY_OUT: tuple[Regime, ...] = ("velocity_out", "both_out")


class BouncingBalls:
    """A ClipSource of the three one- and two-ball worlds of PhyWorld (arXiv 2411.02385); see ball_worlds.

    A clip is a pure function of (seed, split, index) and of the arguments here: its random generator is
    Philox with the key mix(seed, split, index). So splits share no clip, whatever the order of reading; since
    draws are continuous, no held-out clip equals a training clip (the original trains on a grid and tests off
    it). Clips run at 10 frames per second; balls may leave the picture. A picture that is not square shows
    the square world stretched. The regimes leave the training ranges with the radius, the speed or both, of
    every ball.

    Clip: video (t, 3, h, w); state (t, 10) float64: x, y, vx, vy, r of two balls in a world 10 wide, y up,
    all zero for a ball that is not there; with pushes, actions (t-1, 2) float32: actions[i] is added to the
    velocity of ball 1 right after frame i. Pushes come about once a second and keep the ball in view; pushed
    balls may miss each other.

    Raises: SourceError for sizes that show nothing.
    """

    def __init__(
        self,
        *,
        worlds: list[Literal["uniform", "collision", "parabola"]],
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        regime: Regime = "in",
        pushes: bool = False,
        softness: float = 0.03,
        num_clips: int = 100_000,
    ) -> None:
        if not worlds:
            raise SourceError(f"bouncing_balls: worlds is empty; name at least one of {', '.join(WORLDS)}")
        if num_frames < 2 or height < 8 or width < 8 or num_clips < 1:
            raise SourceError(
                f"bouncing_balls: {num_clips} clips of {num_frames} frames of {height}x{width}; "
                "give at least 1 clip of 2 frames of 8x8"
            )
        if not 0.0 < softness <= 1.0:
            raise SourceError(f"bouncing_balls: softness is {softness}; give a number above 0 and up to 1")
        self.worlds = list(worlds)
        self.num_frames, self.height, self.width = num_frames, height, width
        self.seed, self.regime, self.pushes = seed, regime, pushes
        self.softness, self.num_clips = softness, num_clips

    def spec(self) -> ClipSpec:
        return ClipSpec(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            action_dim=2 if self.pushes else 0,
            state_dim=10,
            action_names=("ball1.dvx", "ball1.dvy") if self.pushes else (),
            state_names=tuple(f"ball{n}.{name}" for n in (1, 2) for name in ("x", "y", "vx", "vy", "r")),
        )

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """Simulate and render one clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        name = self.worlds[rng.integers(len(self.worlds))]
        world = WORLDS[name]
        radii = world.radii_out if self.regime in RADIUS_OUT else world.radii_in
        speeds = SPEEDS_OUT if self.regime in VELOCITY_OUT else SPEEDS_IN
        scene = world.draw(rng, radii, speeds, self.num_frames)
        push = partial(draw_push, rng, speeds=speeds) if self.pushes else None
        frames, pushes = simulate(scene, self.num_frames, push)
        state = np.zeros((self.num_frames, 2, 5))
        for row, balls in zip(state, frames, strict=True):
            for n, ball in enumerate(balls):
                row[n] = ball.x, ball.y, ball.vx, ball.vy, ball.r
        count = len(scene.balls)
        video = render_balls(
            state[:, :count, :2] / WORLD_SIZE,
            state[0, :count, 4] / WORLD_SIZE,
            height=self.height,
            width=self.width,
            softness=self.softness,
        )
        clip: dict[str, Any] = dict(
            video=torch.from_numpy(video),
            state=torch.from_numpy(state.reshape(self.num_frames, 10)),
            text=_caption(world, scene.balls, self.pushes),
            fps=torch.tensor(1.0 / FRAME_TIME),
            id=self._id(name, split, index),
        )
        if self.pushes:
            clip["actions"] = torch.from_numpy(pushes)
        return clip

    def _id(self, world: str, split: Split, index: int) -> str:
        regime = "" if self.regime == "in" else f"/{self.regime}"
        pushed = "/pushed" if self.pushes else ""
        return f"bouncing_balls/{world}{regime}{pushed}/seed{self.seed}/{split}/{index}"


def _caption(world: World, balls: tuple[Ball, ...], pushes: bool) -> str:
    words = {}
    for n, ball in enumerate(balls, start=1):
        words[f"size{n}"] = "small" if ball.r < 1.0 else "large"
        words[f"speed{n}"] = "slowly" if abs(ball.vx) < 2.5 else "quickly"
    return world.caption.format(**words) + (", and pushes steer the red ball." if pushes else ".")
