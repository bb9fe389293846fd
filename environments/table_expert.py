"""Who acts on the play-table without having learned: an expert for every task, and chance."""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float, Float32

from environments.table_model import BAR_CLOSED_Y, BLOCKS, BUTTON_PRESSED, BUTTON_XY
from environments.table_state import TableState
from environments.table_tasks import BEHIND

STEP = 0.02  # metres that an action of 1 moves the finger
_HIGH, _LOW = 0.11, 0.03  # heights to travel at, above every block, and to touch things at
_BESIDE_BAR = 0.026

Point = Float[np.ndarray, "3"]


def expert_action(state: Float[np.ndarray, " s"], task: str) -> Float32[np.ndarray, "7"]:
    """What the expert does next, by the state vector and the task's name alone: it keeps nothing in mind.

    It aims at one waypoint at a time: over the place to begin at, down, through; up again where it is low
    and in the wrong place.
    """
    now = TableState.from_vector(state)
    move = (_WAYPOINTS[task](now) - now.finger) / STEP
    action = np.zeros(7, dtype=np.float32)
    action[:3] = np.clip(move, -1.0, 1.0)
    return action


def _enter(finger: Point, x: float, y: float) -> Point:
    """The way down at (x, y) from wherever the finger is."""
    off = np.hypot(finger[0] - x, finger[1] - y)
    if finger[2] > _HIGH - 0.02:
        return np.array([x, y, _LOW if off < 0.012 else _HIGH])
    return np.array([x, y, _LOW]) if off < 0.02 else np.array([finger[0], finger[1], _HIGH + 0.02])


def _push(now: TableState, *, block: int, side: int) -> Point:
    x, y = now.blocks[block, :2]
    behind = side * (x - now.finger[0])
    if now.finger[2] < _LOW + 0.015 and 0.02 < behind < BEHIND + 0.03 and abs(now.finger[1] - y) < 0.025:
        return np.array([x + side * 0.02, y, _LOW])
    return _enter(now.finger, x - side * BEHIND, y)


def _slide_drawer(now: TableState, *, side: int) -> Point:
    """side: -1 pulls the bar from behind, towards the camera; 1 pushes it from before."""
    bar = BAR_CLOSED_Y - now.drawer
    before = side * (bar - now.finger[1])
    if now.finger[2] < _LOW + 0.015 and 0.0 < before < 0.045 and abs(now.finger[0]) < 0.07:
        return np.array([now.finger[0], bar + side * 0.03, _LOW])
    return _enter(now.finger, float(np.clip(now.finger[0], -0.05, 0.05)), bar - side * _BESIDE_BAR)


def _press(now: TableState) -> Point:
    if now.button < BUTTON_PRESSED:  # still down from an earlier task
        return np.array([*BUTTON_XY, _HIGH])
    return _enter(now.finger, *BUTTON_XY)


_WAYPOINTS: dict[str, Callable[[TableState], Point]] = {
    "open_drawer": partial(_slide_drawer, side=-1),
    "close_drawer": partial(_slide_drawer, side=1),
    "turn_on_led": _press,
    "turn_off_led": _press,
}
for _block, _colour in enumerate(BLOCKS):
    _WAYPOINTS[f"push_{_colour}_block_left"] = partial(_push, block=_block, side=-1)
    _WAYPOINTS[f"push_{_colour}_block_right"] = partial(_push, block=_block, side=1)


class RandomActions:
    """Actions by chance that go somewhere: each is half new and half the last one.

    width: numbers of an action; the third, an arm's height, drifts downwards.
    Source: the correlated noise and the downward mean of visual foresight's data collection
    (arXiv 1812.00568).
    """

    def __init__(self, *, seed: int, width: int = 7) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.last = np.zeros(width)

    def __call__(self) -> Float32[np.ndarray, " a"]:
        """The next action, in [-1, 1]."""
        fresh = self.rng.normal(0.0, 1.5, size=len(self.last))
        fresh[2:3] -= 0.2
        self.last = 0.5 * self.last + 0.5 * fresh
        return np.clip(self.last, -1.0, 1.0).astype(np.float32)
