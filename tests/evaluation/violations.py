"""Balls that break one law at a time, made from the simulator's states and rendered like the truth."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.ball_renderer import render_balls

CONTEXT, TURN = 3, 3  # frames given; the frame from which a ball goes wrong
FRAME_TIME = 0.1

State = np.ndarray  # (t, 2, 5): x, y, vx, vy, r of two balls


def contact_frame(state: State) -> int:
    """The first frame behind the contact."""
    return int(np.flatnonzero(np.abs(np.diff(state[:, 1, 2])) > 1e-6)[0]) + 1


def teleport(state: State) -> State:
    """Ball 1 leaps by 1.5 up or down, to where there is more room, and goes on from there."""
    state = state.copy()
    state[TURN:, 0, 1] += 1.5 if state[TURN, 0, 1] < 5 else -1.5
    return state


def vanish(state: State) -> State:
    """Ball 1 is not there for three frames."""
    state = state.copy()
    state[TURN : TURN + 3, 0, :2] = -9
    return state


def energy_gain(state: State) -> State:
    """Both balls leave the contact with 1.3 times their energy."""
    state = state.copy()
    start = contact_frame(state)
    state[start:, :, :2] += (np.sqrt(1.3) - 1) * (state[start:, :, :2] - state[start, :, :2])
    return state


def go_through(state: State) -> State:
    """Both balls go on as if the other were not there."""
    state = state.copy()
    seconds = FRAME_TIME * np.arange(len(state))[:, None, None]
    state[..., :2] = state[0, :, :2] + seconds * state[0, :, 2:4]
    return state


def turn(state: State) -> State:
    """Ball 1 turns by a right angle in free flight, to where there is more room."""
    state = state.copy()
    seconds = FRAME_TIME * np.arange(len(state) - TURN)
    up = 1 if state[TURN, 0, 1] < 5 else -1
    state[TURN:, 0, 0] = state[TURN, 0, 0]
    state[TURN:, 0, 1] = state[TURN, 0, 1] + up * seconds * state[TURN, 0, 2]
    return state


def grow(state: State) -> State:
    """Ball 1 grows by a fifth until the clip ends."""
    state = state.copy()
    state[TURN:, 0, 4] *= np.linspace(1.0, 1.2, len(state) - TURN)
    return state


def play_backwards(state: State) -> State:
    """The frames behind the context, last first."""
    return np.concatenate((state[:CONTEXT], state[CONTEXT:][::-1]))


def freeze(state: State) -> State:
    """The last frame of the context, again and again."""
    return np.concatenate((state[:CONTEXT], np.repeat(state[CONTEXT - 1 : CONTEXT], len(state) - CONTEXT, 0)))


VIOLATIONS: dict[str, Callable[[State], State]] = {
    "teleport": teleport,
    "vanish": vanish,
    "energy gain": energy_gain,
    "pass-through": go_through,
    "mid-air turn": turn,
    "growth": grow,
    "time reversal": play_backwards,
    "frozen": freeze,
}


def render(state: State, *, size: int, softness: float) -> Tensor:
    """Frames (t, 3, size, size) in [0, 1], every ball as large as the state says."""
    there = state[0, :, 4] > 0
    frames = [
        render_balls(places[None] / 10, radii / 10, height=size, width=size, softness=softness)
        for places, radii in zip(state[:, there, :2], state[:, there, 4], strict=True)
    ]
    return torch.from_numpy(np.concatenate(frames)).float() / 255
