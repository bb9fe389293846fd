"""A disc at a fork: it moves straight, then turns one way or another, so that every valid future is known."""

from dataclasses import dataclass
from math import tau
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from components.clip import ClipSpec
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.drawn_clips import DrawnClips, numbers_of

NUM_CLIPS: dict[Split, int] = {"train": 100_000, "val": 1_000, "test": 1_000}
FRAMES_PER_SECOND = 10.0
HEADINGS = {"right": (1.0, 0.0), "down": (0.0, 1.0), "left": (-1.0, 0.0), "up": (0.0, -1.0)}
REST = (0.0, 0.0)  # so that a controlled disc has seen the action zero
RADIUS = 0.15  # of the shorter side
KEEPS_GOING = 0.7  # chance that a controlled disc moves on as it did


class Fork:
    """A ClipSource of one textured disc on a fixed textured background.

    For `straight` frames the disc moves right, down, left or up; then it turns by 90 degrees to its left or
    right, or into any of 8 compass directions, each equally likely, and moves on as fast. A context of
    `straight` frames tells nothing of the turn. The disc stays in view where the picture has room for all its
    futures. `controlled`, its velocity is the action instead: it moves in the four directions or rests,
    changes its mind now and then, stays in view at any length, and has one future.

    A clip is a pure function of (seed, split, index) and of the arguments here. The textures are functions of
    the seed alone, sums of waves that are evaluated at exact places: no picture is resampled.

    Clip: video (t, 3, h, w); state (t, 2) float64: x to the right and y down of the disc's centre, in pixels,
    the first pixel's centre at 0; controlled, actions (t-1, 2) float32: pixels a frame, added to the position
    after frame i.

    Raises: SourceError for sizes that show nothing.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        directions: Literal[2, 8] = 2,
        straight: int = 2,
        speed: float = 1.5,
        controlled: bool = False,
    ) -> None:
        if num_frames < 2 or height < 16 or width < 16:
            raise SourceError(
                f"fork: {num_frames} frames of {height}x{width}; give at least 2 frames of 16x16"
            )
        if straight < 1:
            raise SourceError(f"fork: straight is {straight}; give at least 1 frame before the turn")
        if speed <= 0:
            raise SourceError(f"fork: speed is {speed:g}; give pixels a frame above 0")
        self.num_frames, self.height, self.width, self.seed = num_frames, height, width, seed
        self.directions, self.straight, self.speed = directions, straight, speed
        self.controlled = controlled
        self.radius = RADIUS * min(height, width)
        rng = np.random.Generator(np.random.Philox(key=mix(seed)))
        self._ground = Waves.draw(rng, lengths=(6.0, 16.0), values=(0.1, 0.45))
        self._disc = Waves.draw(rng, lengths=(4.0, 7.0), values=(0.45, 1.0))

    def spec(self) -> ClipSpec:
        return ClipSpec(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            action_dim=2 if self.controlled else 0,
            state_dim=2,
            action_names=("disc.vx", "disc.vy") if self.controlled else (),
            state_names=("disc.x", "disc.y"),
        )

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, NUM_CLIPS[name])

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        kind = "controlled/" if self.controlled else ""
        clip: dict[str, Any] = dict(
            fps=torch.tensor(FRAMES_PER_SECOND), id=f"fork/{kind}seed{self.seed}/{split}/{index}"
        )
        if self.controlled:
            path, actions = self._steer(rng)
            clip["actions"] = torch.from_numpy(actions)
            clip["text"] = "A textured disc moves as its actions say."
        else:
            heading, paths = self._fork(rng)
            path = paths[rng.integers(self.directions)]
            turns = "turns left or right" if self.directions == 2 else "goes on in any direction"
            clip["text"] = f"A textured disc moves {heading}, then {turns}."  # which way would be a leak
        return clip | {"video": torch.from_numpy(self._render(path)), "state": torch.from_numpy(path)}

    def futures(self, split: Split, index: int) -> UInt8[Tensor, "m t 3 h w"]:
        """Every valid render of this clip, whole: equal for `straight` frames, then one for each turn."""
        if self.controlled:
            return self.clip(split, index)["video"][None]
        _, paths = self._fork(numbers_of(split, self.seed, index))
        return torch.from_numpy(np.stack([self._render(path) for path in paths]))

    def _fork(self, rng: np.random.Generator) -> tuple[str, Float[np.ndarray, "m t 2"]]:
        """The heading of the context and the disc's path for every turn."""
        heading = list(HEADINGS)[rng.integers(len(HEADINGS))]
        x, y = HEADINGS[heading]
        if self.directions == 2:
            turns = np.array([(y, -x), (-y, x)])  # left, right; y points down
        else:
            angles = np.arctan2(y, x) + tau / 8 * np.arange(8)
            turns = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        time = np.arange(self.num_frames) - (self.straight - 1.0)  # 0 where the last straight frame is
        before = time.clip(max=0)[:, None] * np.array([x, y])
        paths = self.speed * (before + time.clip(min=0)[:, None] * turns[:, None])
        low, high = self._room()
        low, high = low - paths.min(axis=(0, 1)), high - paths.max(axis=(0, 1))
        middle = (low + high) / 2
        place = rng.uniform(np.minimum(low, middle), np.maximum(high, middle))
        return heading, paths + np.where(low < high, place, middle)

    def _steer(self, rng: np.random.Generator) -> tuple[Float[np.ndarray, "t 2"], Float[np.ndarray, "t-1 2"]]:
        """A path in view and the velocities that make it; a longer one begins alike."""
        low, high = self._room()
        path = [rng.uniform(low, high)]
        velocities = self.speed * np.array([*HEADINGS.values(), REST], dtype=np.float32)
        actions: list[Any] = []
        for _ in range(self.num_frames - 1):
            keeps, drawn = rng.random() < KEEPS_GOING, velocities[rng.permutation(len(velocities))]
            wishes = [actions[-1], *drawn] if actions and keeps else drawn
            stays = [v for v in wishes if ((path[-1] + v >= low) & (path[-1] + v <= high)).all()]
            actions.append(stays[0])  # at least to rest stays in view
            path.append(path[-1] + actions[-1])
        return np.stack(path), np.stack(actions)

    def _room(self) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
        """Where the centre may be with the whole disc in view."""
        edge = np.array([self.width, self.height]) - 1.0
        return np.full(2, self.radius), edge - self.radius

    def _render(self, path: Float[np.ndarray, "t 2"]) -> UInt8[np.ndarray, "t 3 h w"]:
        rows, columns = np.mgrid[: self.height, : self.width].astype(np.float64)
        dx, dy = columns - path[:, 0, None, None], rows - path[:, 1, None, None]
        cover = (self.radius + 0.5 - np.hypot(dx, dy)).clip(0, 1)  # an edge one pixel wide
        ground, disc = self._ground.at(columns, rows)[:, None], self._disc.at(dx, dy)
        return np.rint(255 * (ground + (disc - ground) * cover).swapaxes(0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Waves:
    """A smooth colour texture: three plane waves a channel."""

    frequencies: Float[np.ndarray, "3 k 2"]  # radians a pixel
    phases: Float[np.ndarray, "3 k"]
    low: float
    high: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, lengths: tuple[float, float], values: tuple[float, float]
    ) -> "Waves":
        """lengths: of the waves, in pixels. values: the darkest and the brightest that there can be."""
        angles, length = rng.uniform(0, tau, (3, 3)), rng.uniform(*lengths, (3, 3))
        frequencies = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * (tau / length)[..., None]
        return cls(frequencies, rng.uniform(0, tau, (3, 3)), *values)

    def at(self, x: Float[np.ndarray, "*n h w"], y: Float[np.ndarray, "*n h w"]) -> np.ndarray:
        """Colours at places, (3, *n, h, w) in [low, high]."""
        colours = []
        for frequencies, phases in zip(self.frequencies, self.phases, strict=True):
            waves = [
                np.sin(fx * x + fy * y + phase) for (fx, fy), phase in zip(frequencies, phases, strict=True)
            ]
            colours.append(sum(waves) / len(waves))
        return self.low + (self.high - self.low) * (np.stack(colours) + 1) / 2
