"""PushT: a T that a round finger pushes onto its outline, seen from above (gym-pusht)."""

import os
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from environments import UnavailableError

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:
    raise UnavailableError("gymnasium is missing; pip install -e '.[pusht]'") from None

TASK, GROUP = "push_t", "push"
TEXTS = (
    "push the T onto its outline",
    "move the T to where it is drawn",
    "cover the green T with the grey T",
)
_HALF = 256.0  # of the field's side, in its own units
_RESIZES = {"area": "INTER_AREA", "linear": "INTER_LINEAR"}

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class Snapshot:
    """All of one moment but the generator that resets draw from: how it began and what was done since."""

    start: tuple[float, ...]
    actions: tuple[tuple[float, float], ...]
    text: str


class PushT(gymnasium.Env):
    """One task in two dimensions, 10 actions a second.

    Actions are where the finger should go, 2 numbers in [-1, 1], from the left and the top of the field to
    the right and the bottom. Observations: the picture from above and `state`, whose names are
    `state_names`: places in [0, 512] and the T's angle in [0, 2 pi). The T is where it should be once it
    covers more than 95 % of its outline, which ends the episode; the reward is the share that it covers over
    those 95 %, at most 1. Starts and dynamics are those of gym-pusht. It has no expert.

    height, width: of the pictures, pixels.  cameras: "static" or none.
    resize: how they come from 512x512. "area" takes means; "linear" is gym-pusht's way, which public
    recordings were made with: small things change their shape with every step there.
    max_steps: actions until the task is given up.
    Source: implicit behavioural cloning (arXiv 2109.00137); Diffusion Policy (arXiv 2303.04137).

    Raises UnavailableError where gym-pusht is missing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode = "rgb_array"
    state_names = ("agent_x", "agent_y", "block_x", "block_y", "block_angle")
    action_names = ("x", "y")
    expert = None

    def __init__(
        self,
        *,
        height: int = 64,
        width: int = 64,
        cameras: tuple[Literal["static"], ...] = ("static",),
        resize: Literal["area", "linear"] = "area",
        max_steps: int = 300,
    ) -> None:
        module = _load()
        self.height, self.width, self.cameras, self.max_steps = height, width, tuple(cameras), max_steps
        self._module, self._resize = module, getattr(module.cv2, _RESIZES[resize])
        self.env, self._goal_env = module.PushTEnv(obs_type="state"), module.PushTEnv(obs_type="state")
        self.env._get_coverage = self._coverage
        seen: dict[str, spaces.Space] = {
            name: spaces.Box(0, 255, (height, width, 3), np.uint8) for name in self.cameras
        }
        seen["state"] = spaces.Box(-np.inf, np.inf, (len(self.state_names),), np.float32)
        self.observation_space = spaces.Dict(seen)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.action_names),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new start; a seed gives the one that gym-pusht gives.

        options: "task", which can only be push_t; "text", how to say it; "start", the 5 numbers that
        gym-pusht calls `reset_to_state`. What is not given is drawn.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        name = given.pop("task", None) or TASK
        text, start = given.pop("text", None), given.pop("start", None)
        if given:
            raise ValueError(f"options: no such key {', '.join(given)}; there are: task, text, start")
        if name != TASK:
            raise ValueError(f"options: no task {name}; there is: {TASK}")
        if start is None:
            start = self._draw_start()
        start = np.asarray(start, dtype=np.float64)
        if start.shape != (len(self.state_names),) or not np.isfinite(start).all():
            raise ValueError(f"options: a start is 5 finite numbers, got {start.tolist()}")
        self._text = str(self.np_random.choice(TEXTS)) if text is None else text
        self._begin(tuple(start.tolist()))
        return self._observe(), self._info(success=False)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Pull the finger towards a place for a tenth of a second.

        Raises ValueError where the action is not 2 finite numbers.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"step: an action is 2 finite numbers, got {action.tolist()}")
        target = (np.clip(action, -1.0, 1.0) + 1.0) * _HALF
        _, reward, success, _, _ = self.env.step(target)
        self._actions.append((float(target[0]), float(target[1])))
        over = len(self._actions) >= self.max_steps and not success
        return self._observe(), float(reward), bool(success), over, self._info(bool(success))

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """What the static camera sees."""
        return self._draw(self.env)

    @staticmethod
    def tasks() -> dict[str, str]:
        """The group of the only task."""
        return {TASK: GROUP}

    def goal(self, camera: str = "static") -> UInt8[np.ndarray, "h w 3"]:
        """A picture in which the T lies on its outline and the finger is where it is now."""
        there = self._goal_env
        there._setup()
        there.agent.position = self.env.agent.position
        there.block.angle = there.goal_pose[2]  # turns about the middle of mass, so before the position
        there.block.position = tuple(there.goal_pose[:2])
        for body in (there.agent, there.block):
            there.space.reindex_shapes_for_body(body)
        return self._draw(there)

    def state(self) -> Snapshot:
        """This moment, to come back to with `restore`."""
        return Snapshot(self._start, tuple(self._actions), self._text)

    def restore(self, state: Snapshot) -> Observation:
        """Go back to a moment of this environment or of one like it; what follows is the same to the bit.

        The physics engine does not tell all that it keeps of contacts, so the actions since the start are
        done once more, without looking: 0.2 ms each, against 1.4 ms of a step with a picture.
        """
        self._text = state.text
        self._begin(state.start)
        self.env._get_coverage = lambda: 0.0  # most of a step's time, and asked for by nobody here
        try:
            for target in state.actions:
                self.env.step(np.array(target))
        finally:
            self.env._get_coverage = self._coverage
        self._actions = list(state.actions)
        return self._observe()

    def close(self) -> None:
        """Nothing is held that needs freeing."""
        self.env.close()
        self._goal_env.close()

    def _coverage(self) -> float:
        """Share of the outline that the T covers; gym-pusht adds its parts up in an order that varies."""
        parts, goal = self.env._block_shapes, self.env.get_goal_pose_body(self.env.goal_pose)
        outline, covered = (self._module.pymunk_to_shapely(body, parts) for body in (goal, self.env.block))
        return outline.intersection(covered).area / outline.area

    def _begin(self, start: tuple[float, ...]) -> None:
        self._start, self._actions = start, list[tuple[float, float]]()
        self.env.reset(options={"reset_to_state": start})

    def _draw_start(self) -> Float[np.ndarray, "5"]:
        """Finger and T somewhere, as gym-pusht draws them from the same generator."""
        rng = self.np_random
        places = [
            int(rng.integers(low, high)) for low, high in ((50, 450), (50, 450), (100, 400), (100, 400))
        ]
        return np.array([*places, rng.uniform(-np.pi, np.pi)])

    def _draw(self, env: Any) -> UInt8[np.ndarray, "h w 3"]:
        screen = env._draw()
        pixels = np.frombuffer(screen.get_view("0"), np.uint8).reshape(*screen.get_size(), 4)
        small = self._module.cv2.resize(pixels, (self.width, self.height), interpolation=self._resize)
        return np.ascontiguousarray(small[..., [shift // 8 for shift in screen.get_shifts()[:3]]])

    def _observe(self) -> Observation:
        state = self.env.get_obs().astype(np.float32)
        return {name: self.render() for name in self.cameras} | {"state": state}

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": success, "task": TASK, "text": self._text}


def _load() -> ModuleType:
    """gym-pusht, without a window and without pygame's greeting."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import gym_pusht.envs.pusht as module
    except ImportError as error:
        missing = (error.name or "").startswith("gym_pusht")
        told = "gym-pusht is missing" if missing else f"gym-pusht cannot be imported: {error}"
        raise UnavailableError(f"{told}; pip install -e '.[pusht]'") from None
    return module
