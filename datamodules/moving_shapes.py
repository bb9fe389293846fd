"""A coloured shape moves straight over a dark ground: 72 captions, and each can be read back from pixels."""

from collections.abc import Callable
from math import pi, sqrt
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_of

FRAMES_PER_SECOND = 10.0
GROUND = 0.1
COLOURS = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.15, 0.9, 0.15),
    "blue": (0.15, 0.15, 0.9),
    "yellow": (0.9, 0.9, 0.15),
    "magenta": (0.9, 0.15, 0.9),
    "cyan": (0.15, 0.9, 0.9),
}
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
QUESTIONS = ("what color is it?", "what shape is it?", "where does it move?")
NOTHING, NOWHERE = "nothing", "nowhere"
LEAST_AREA = 4.0  # pixels; what covers less is no object
MARGIN = 3  # pixels around the object that its blurred edge may reach
BLURS = 3  # by 3x3 pixels, one on another; the strongest that the shape is sought under
LEAST_MOTION = 0.5  # pixels in a clip; what moves less rests

# A shape: how far a place lies from its centre, measured across the nearest side, and how far the sides lie
# where the area is pi. So all shapes of one size cover as many pixels. The triangle's tip points up.
Gauge = Callable[[np.ndarray, np.ndarray], np.ndarray]
INNER = sqrt(pi / sqrt(27))
SHAPES: dict[str, tuple[Gauge, float]] = {
    "disc": (np.hypot, 1.0),
    "square": (lambda dx, dy: np.maximum(abs(dx), abs(dy)), sqrt(pi) / 2),
    "triangle": (lambda dx, dy: np.maximum(dy, sqrt(0.75) * abs(dx) - dy / 2), INNER),
}
REACH = 2 * INNER  # from the centre to the farthest corner of any shape, the tip of the triangle
SOFT = 1.0  # pixels by which its soft edge reaches farther


class MovingShapes:
    """A ClipSource of a disc, a square or a triangle in 6 colours that moves left, right, up or down.

    The shape keeps its speed and stays in view. All 72 captions are equally likely, and so are the three
    questions. A clip is a pure function of (seed, split, index) and of the arguments here; places are
    continuous and evaluated exactly, with edges one pixel wide.

    Clip: video (t, 3, h, w); text "a red square moves left"; question and answer, "where does it move?" and
    "left"; state (t, 2) float64: x to the right and y down of the shape's centre of mass, in pixels, the
    first pixel's centre at 0.

    Args:
        speed: pixels a frame.
        size: radius of the disc over the shorter side of the picture; the others are as large in area.

    Raises: SourceError for sizes that show nothing, and where a shape would have to leave the picture.
    """

    attributes: ClassVar[dict[str, int]] = {"colour": 1, "shape": 2, "direction": -1}  # words of the caption

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        seed: int,
        speed: float = 1.5,
        size: float = 0.15,
        num_clips: int = 100_000,
    ) -> None:
        if num_frames < 2 or height < 16 or width < 16 or num_clips < 1:
            raise SourceError(
                f"moving_shapes: {num_clips} clips of {num_frames} frames of {height}x{width}; "
                "give at least 1 clip of 2 frames of 16x16"
            )
        if speed <= 0 or size <= 0:
            raise SourceError(f"moving_shapes: speed is {speed:g} and size is {size:g}; give numbers above 0")
        self.num_frames, self.height, self.width, self.seed = num_frames, height, width, seed
        self.speed, self.num_clips = speed, num_clips
        self.radius = size * min(height, width)
        self.reach = REACH * self.radius + SOFT
        free = min(height, width) - 1 - 2 * self.reach
        if speed * (num_frames - 1) > free:
            raise SourceError(
                f"moving_shapes: {num_frames} frames at {speed:g} pixels a frame lead out of a "
                f"{height}x{width} picture, which has {max(free, 0):.1f} pixels of room; "
                "give fewer frames, a lower speed or a smaller size"
            )

    def spec(self) -> ClipSpec:
        return ClipSpec(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            state_dim=2,
            state_names=("shape.x", "shape.y"),
        )

    def describe(self, video: Float[Tensor, "b t 3 h w"]) -> list[str]:
        """Captions read from pixels, whoever made them; see the function of this name."""
        return describe(video)

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One clip, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        colour, shape, direction = (
            list(words)[rng.integers(len(words))] for words in (COLOURS, SHAPES, DIRECTIONS)
        )
        asked = rng.integers(len(QUESTIONS))
        path = self.speed * np.arange(self.num_frames)[:, None] * np.array(DIRECTIONS[direction])
        edge = np.array([self.width, self.height]) - 1 - self.reach
        path += rng.uniform(self.reach - path.min(axis=0), edge - path.max(axis=0))
        return dict(
            video=torch.from_numpy(drawn(shape, COLOURS[colour], path, self.radius, self.height, self.width)),
            text=f"a {colour} {shape} moves {direction}",
            question=QUESTIONS[asked],
            answer=(colour, shape, direction)[asked],
            state=torch.from_numpy(path),
            fps=torch.tensor(FRAMES_PER_SECOND),
            id=f"moving_shapes/seed{self.seed}/{split}/{index}",
        )


def drawn(
    shape: str,
    colour: tuple[float, float, float],
    centres: Float[np.ndarray, "t 2"],
    radius: float,
    height: int,
    width: int,
) -> UInt8[np.ndarray, "t 3 h w"]:
    """A shape of one colour over the ground, a frame a centre (x, y)."""
    cover = _cover(shape, centres, radius, height, width)[:, None]
    span = np.array(colour, dtype=np.float32)[:, None, None] - GROUND
    return (255 * GROUND + 0.5 + 255 * span * cover).astype(np.uint8)


def _cover(
    shape: str, centres: Float[np.ndarray, "*n 2"], radius: Any, height: int, width: int
) -> Float[np.ndarray, "*n h w"]:
    """How much of each pixel a shape covers; radius is a number, or one a centre."""
    gauge, inner = SHAPES[shape]
    dx = (np.arange(width) - centres[..., 0, None]).astype(np.float32)[..., None, :]
    dy = (np.arange(height) - centres[..., 1, None]).astype(np.float32)[..., :, None]
    side = np.asarray(inner * radius + 0.5, dtype=np.float32)[..., None, None]
    return (side - gauge(dx, dy)).clip(0, 1)


def describe(video: Float[Tensor, "b t 3 h w"]) -> list[str]:
    """Captions read from pixels in [0, 1]: "a red square moves left" of whatever made the video.

    The colour is the nearest to the mean of what stands out, the direction that of the centre of mass, and
    the shape the one whose exact render at that centre, as large in area, comes nearest, whether the video
    is sharp or blurred. "nothing" where there is no object; a shape that rests "moves nowhere".
    """
    return [_describe(clip) for clip in video.detach().float().cpu().numpy()]


def _describe(clip: Float[np.ndarray, "t 3 h w"]) -> str:
    excess, palette = clip - np.float32(GROUND), np.array(list(COLOURS.values()), dtype=np.float32) - GROUND
    stands_out = excess.max(axis=1) > palette.max() / 2
    if stands_out.sum(axis=(1, 2)).mean() < LEAST_AREA:
        return NOTHING
    mean = excess.transpose(0, 2, 3, 1)[stands_out].mean(axis=0)
    nearest = np.square(palette - mean).sum(axis=1).argmin()
    colour = palette[nearest]
    cover = np.einsum("tchw,c->thw", excess, colour) / (colour @ colour)
    # blur keeps the sum of it, so that the area stays right; noise far from the object is left out
    near = F.max_pool2d(torch.from_numpy(cover)[:, None], 2 * MARGIN + 1, 1, MARGIN)[:, 0].numpy() > 0.5
    cover = np.where(near, cover, 0)
    area = cover.sum(axis=(1, 2))
    seen = area >= LEAST_AREA
    if not seen.any():
        return NOTHING
    cover, area, when = cover[seen], area[seen], np.flatnonzero(seen)
    rows, columns = np.arange(clip.shape[2]), np.arange(clip.shape[3])
    centres = np.stack([cover.sum(axis=1) @ columns, cover.sum(axis=2) @ rows], axis=-1) / area[:, None]
    shape = _shape(cover, centres, np.sqrt(area / pi))
    return f"a {list(COLOURS)[nearest]} {shape} moves {_direction(when, centres)}"


def _shape(
    cover: Float[np.ndarray, "t h w"], centres: Float[np.ndarray, "t 2"], radius: Float[np.ndarray, " t"]
) -> str:
    """The shape whose exact render comes nearest, as it is or blurred."""
    misfits = {}
    for shape in SHAPES:
        render = torch.from_numpy(_cover(shape, centres, radius, *cover.shape[1:]))
        for blur in range(BLURS + 1):
            misfits[shape, blur] = float(np.square(render.numpy() - cover).mean())
            render = F.avg_pool2d(render, 3, 1, 1)
    return min(misfits, key=misfits.__getitem__)[0]


def _direction(when: np.ndarray, centres: Float[np.ndarray, "t 2"]) -> str:
    """By the straight line fitted to the centres, so that one bad frame does not decide."""
    if len(when) == 1:
        return NOWHERE
    since = when - when.mean()
    motion = since @ centres / (since @ since) * (when[-1] - when[0])
    if abs(motion).max() < LEAST_MOTION:
        return NOWHERE
    return max(DIRECTIONS, key=lambda word: motion @ np.array(DIRECTIONS[word]))
