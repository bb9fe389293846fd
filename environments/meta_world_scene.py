"""One scene of Meta-World with what it takes to come back to a moment exactly, and its scripted experts."""

import copy
import warnings
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from environments import UnavailableError
from environments.rendering import load_mujoco

_MOVED = ("body_pos", "body_quat", "site_pos")  # of the model: a reset writes where things stand there


@dataclass(frozen=True)
class Moment:
    """physics: MuJoCo's state. places: of the model, what differs between episodes. kept: what Meta-World
    keeps beside both. vector: what it told last.
    """

    vector: Float[np.ndarray, "39"]
    physics: Float[np.ndarray, " n"]
    places: dict[str, np.ndarray]
    kept: dict[str, Any]


class MetaWorldScene:
    """A task of Meta-World, by its name without version; it stands as it would for seed 0.

    Raises UnavailableError where Meta-World or a GL back end is missing.
    """

    def __init__(self, task: str) -> None:
        self.mujoco = load_mujoco()
        self.env = load_metaworld().env_dict.ALL_V3_ENVIRONMENTS[f"{task}-v3"]()
        self.model, self.data = self.env.model, self.env.data
        self.model.vis.quality.offsamples = self.model.vis.quality.shadowsize = 0
        self.env._partially_observable = False  # the state tells the goal, which experts need
        vars(self.env).pop("sawyer_observation_space", None)  # was worked out without it
        self.env.max_path_length = np.inf
        self.env._set_task_called = self.env.seeded_rand_vec = True
        self.vector = self.place(0)

    def place(self, seed: int) -> Float[np.ndarray, "39"]:
        """Put things and goal where the seed says.

        They are drawn once and then set up twice, as Meta-World does: where things are only moved after the
        hand has come to rest, the second time finds them where they belong.
        """
        self.mujoco.mj_resetData(self.model, self.data)
        self.env.seed(seed)
        self.env._freeze_rand_vec = False
        self.env.reset_model()
        self.env._freeze_rand_vec = True
        self.vector, _ = self.env.reset()
        self.mujoco.mj_forward(self.model, self.data)
        return self.vector

    def act(self, action: Float[np.ndarray, "4"]) -> tuple[float, bool]:
        """Carry out an action in [-1, 1]; reward and success. What it then looks like is in `vector`."""
        self.vector, reward, _, _, told = self.env.step(np.clip(np.float64(action), -1.0, 1.0))
        return float(reward), bool(told["success"])

    def moment(self) -> Moment:
        whole = self.mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(self.mujoco.mj_stateSize(self.model, whole))
        self.mujoco.mj_getState(self.model, self.data, physics, whole)
        places = {name: getattr(self.model, name).copy() for name in _MOVED}
        kept = {name: copy.deepcopy(value) for name, value in vars(self.env).items() if _is_own(value)}
        return Moment(self.vector.copy(), physics, places, kept)

    def restore(self, moment: Moment) -> None:
        """Go back to a moment of this scene or of another one of the same task; what follows is the same."""
        whole = self.mujoco.mjtState.mjSTATE_INTEGRATION
        for name, places in moment.places.items():
            getattr(self.model, name)[:] = places
        self.mujoco.mj_setState(self.model, self.data, moment.physics, whole)
        self.mujoco.mj_forward(self.model, self.data)  # which changes where the solver begins
        self.mujoco.mj_setState(self.model, self.data, moment.physics, whole)
        vars(self.env).update(copy.deepcopy(moment.kept))
        self.vector = moment.vector.copy()


def load_metaworld() -> ModuleType:
    """Meta-World, after MuJoCo has a GL back end."""
    load_mujoco()
    try:
        import metaworld
        import metaworld.policies
    except ImportError as error:
        missing = error.name == "metaworld"
        told = "metaworld is missing" if missing else f"metaworld cannot be imported: {error}"
        raise UnavailableError(f"{told}; pip install -e '.[metaworld]'") from None
    return metaworld


def expert_action(state: Float[np.ndarray, "39"], task: str) -> Float32[np.ndarray, "4"]:
    """What Meta-World's scripted policy does next, by the state vector and the task's name alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of responses above 1, which are clipped
        action = _policy(task).get_action(np.asarray(state, dtype=np.float64))
    return np.clip(action, -1.0, 1.0).astype(np.float32)


@cache
def _policy(task: str) -> Any:
    return load_metaworld().policies.ENV_POLICY_MAP[f"{task}-v3"]()


def _is_own(value: Any) -> bool:
    """Whether an attribute is data that Meta-World keeps; views into MuJoCo's come back with that."""
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        return value.base is None
    return value is None or isinstance(value, bool | int | float | str | np.generic)
