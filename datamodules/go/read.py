"""Go boards read back from pixels, whoever made them."""

import numpy as np
from jaxtyping import Float, Int, Int8
from torch import Tensor

from datamodules.go.render import RADIUS, Renderer
from datamodules.go.rules import BLACK, EMPTY, WHITE


class BoardReader:
    """Inverts a Renderer: what stands at a point is what its pixels look most like.

    The pixels that a stone would cover are compared with those of the point empty, under a black stone and
    under a white one: with the colours of all of them, and with their mean, which blur hardly touches.

    Frames are uint8, or floats in [0, 1], as large as the renderer's pictures; tensors or arrays.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        side, radius = renderer.side, RADIUS * renderer.cell
        reach = np.arange(-int(radius), int(radius) + 1)
        dy, dx = (d.ravel() for d in np.meshgrid(reach, reach, indexing="ij"))
        dy, dx = dy[np.hypot(dy, dx) <= radius], dx[np.hypot(dy, dx) <= radius]
        y, x = (d.ravel()[:, None] for d in np.meshgrid(renderer.centres, renderer.centres, indexing="ij"))
        # a stone on an outer line may reach out of the picture: then pixels at the border count twice
        self._pixels = (y + dy).clip(0, side - 1) * side + (x + dx).clip(0, side - 1)
        empty = self._around(renderer.ground[None] / 255)[0]
        kinds = np.stack([empty, np.zeros_like(empty), np.ones_like(empty)])  # as EMPTY, BLACK, WHITE count
        means = kinds.mean(axis=-1, keepdims=True)
        # the squares written out: what does not depend on the kind cancels, the rest is linear in the pixels
        weights = (2 * (kinds + means) / (3 * len(dy))).transpose(2, 1, 3, 0)
        self._weights = weights.reshape(len(weights), -1, 3)  # of the channels and pixels of a point
        self._offsets = (np.square(kinds).mean(axis=-1) + np.square(means[..., 0])).mean(axis=1).T

    def boards(self, frames: Tensor | np.ndarray) -> Int8[np.ndarray, "n s s"]:
        """The boards that the frames show."""
        size = self.renderer.size
        return self._likeness(frames).argmax(axis=-1).astype(np.int8).reshape(-1, size, size)

    def new_stone(
        self, before: Int8[np.ndarray, "n s s"], frames: Tensor | np.ndarray
    ) -> Int[np.ndarray, " n"]:
        """The point where a black stone stands that did not before, -1 where there is none.

        Of several, the one that is seen most clearly. It may stand where there was a white stone: that is
        for the rules to refuse.
        """
        likeness = self._likeness(frames)
        was_black = before.reshape(len(before), -1) == BLACK
        clarity = likeness[..., BLACK] - np.maximum(likeness[..., EMPTY], likeness[..., WHITE])
        clarity = np.where(was_black, -np.inf, clarity)
        return np.where(clarity.max(axis=1) > 0, clarity.argmax(axis=1), -1)

    def changed(
        self, before: Int8[np.ndarray, "n s s"], frames: Tensor | np.ndarray
    ) -> Int[np.ndarray, " n"]:
        """How many points do not look as they did."""
        return (self.boards(frames) != before).sum(axis=(1, 2))

    def _likeness(self, frames: Tensor | np.ndarray) -> Float[np.ndarray, "n p 3"]:
        """How near the pixels of each point are to those of each kind: minus the distances, but for a term
        that all kinds share."""
        seen = self._around(_floats(frames)).transpose(2, 0, 1, 3)
        near = seen.reshape(*seen.shape[:2], self._weights.shape[1]) @ self._weights
        return near.transpose(1, 0, 2) - self._offsets

    def _around(self, frames: Float[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 3 p k"]:
        """The pixels that a stone on each point would cover."""
        side = self.renderer.side
        if frames.shape[1:] != (3, side, side):
            raise ValueError(f"frames of {tuple(frames.shape[1:])}; boards are read from (3, {side}, {side})")
        return frames.reshape(len(frames), 3, side**2).take(self._pixels, axis=2)


def _floats(frames: Tensor | np.ndarray) -> Float[np.ndarray, "n 3 h w"]:
    if isinstance(frames, Tensor):
        frames = (frames.detach().float() if frames.is_floating_point() else frames).cpu().numpy()
    return frames / np.float32(255) if frames.dtype == np.uint8 else frames.astype(np.float32)
