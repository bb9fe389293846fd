"""Policies: ways to act in an environment, from chance to planning with a world model.

| name | acts by | needs |
|---|---|---|
| random | correlated chance | nothing |
| expert | the simulator's state and rules for each task | an environment with an expert |
| mixed | the expert, disturbed, and chance: for recordings | an environment with an expert |
| model_control | planning with what a world model predicts | an action-conditioned checkpoint |
| simulator_control | planning with the simulator, a perfect model | an environment with snapshots |
| inverse_dynamics | what a model of video says comes next | a checkpoint, and inverse dynamics beside it |
| reactive | what a model says that has learned actions | a checkpoint of behaviour cloning |
| learned | one of the last two or planning, by what the model has learned | a checkpoint |

random and expert bound what a learned policy can be; simulator_control bounds what planning with a model can.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8

Observation = dict[str, np.ndarray]


class Scene(NamedTuple):
    """What there is to do.

    goal: the picture of a camera in which the task is done, where the environment can draw one.
    make: another environment of the same kind, for policies that plan with it.
    action_width: numbers of an action. expert: what one does by the state vector and the task, where there is
    an expert.
    places: where the task's designated pixels are in the picture of that camera and where they should be,
    rows and columns, where the environment designates any.
    """

    task: str
    text: str
    goal: UInt8[np.ndarray, "h w 3"] | None
    make: Callable[[], Any]
    action_width: int
    expert: Callable[[np.ndarray, str], np.ndarray] | None
    places: tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, "p 2"]] | None = None


class Episode(Protocol):
    """One attempt."""

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        """The next action, in [-1, 1]; snapshot: of the simulator, for those that need it, else None."""


@runtime_checkable
class Policy(Protocol):
    """needs_model: a checkpoint. needs_snapshot: the simulator's state at every decision.

    A policy may have two more: `camera`, the one that it sees through; and `needs_places`, the designated
    pixels' true places at every decision, which are then in the observation as `designated`, (p, 2).
    """

    needs_model: bool
    needs_snapshot: bool

    def begin(self, model: Any, scene: Scene, *, seed: int) -> Episode:
        """Raises ValueError, in one line, for a model or a scene that it cannot act with."""
