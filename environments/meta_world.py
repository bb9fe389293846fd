"""Meta-World: a robot's arm and its tasks, each with a scene of its own."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from environments import UnavailableError
from environments.meta_world_scene import MetaWorldScene, Moment, expert_action, load_metaworld
from environments.meta_world_tasks import TASKS
from environments.rendering import FrameRenderer

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:
    raise UnavailableError("gymnasium is missing; pip install -e '.[metaworld]'") from None

# Meta-World's name of a camera, and whether its picture is upside down
_CAMERAS = {"static": ("corner4", True), "wrist": ("gripperPOV", False)}
_ENOUGH = 200  # actions, for every expert here
_THING = ("x", "y", "z", "q1", "q2", "q3", "q4")
_THINGS = [f"{thing}_{part}" for thing in ("first", "second") for part in _THING]
_NOW = ("hand_x", "hand_y", "hand_z", "gripper", *_THINGS)

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class Snapshot:
    """All of one moment but the generator that resets draw from. begin: of the episode, for its goal."""

    task: str
    text: str
    steps: int
    begin: Moment
    moment: Moment


class MetaWorld(gymnasium.Env):
    """Eighteen of Meta-World's tasks, 80 actions a second.

    A task's scene is built when it is first asked for and kept, about 90 MB with its pictures.

    Actions are 4 numbers in [-1, 1]: the hand's x, y, z, times 1 cm, and the gripper, 1 to close it.
    Observations: a picture for each camera and `state`, Meta-World's 39 numbers: hand, gripper and two things
    now, the same a step before, and the goal's place, which is a green mark in the pictures.
    The reward is Meta-World's, 0 to 10; success is its own too, and ends the episode.

    height, width: of the pictures, pixels, without shadows and reflections.
    cameras: "static", from a corner, "wrist" or both.  max_steps: actions until a task is given up.
    Source: Meta-World (arXiv 1910.10897), version 3 of its tasks. Starts and goals are drawn from the ranges
    that its MT1 draws 50 from.

    Raises UnavailableError where Meta-World or a GL back end is missing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012
    render_mode = "rgb_array"
    state_names = (*_NOW, *(f"before_{name}" for name in _NOW), "goal_x", "goal_y", "goal_z")
    action_names = ("x", "y", "z", "gripper")
    expert = staticmethod(expert_action)

    def __init__(
        self,
        *,
        height: int = 64,
        width: int = 64,
        cameras: tuple[Literal["static", "wrist"], ...] = ("static",),
        max_steps: int = _ENOUGH,
    ) -> None:
        load_metaworld()
        self.height, self.width, self.cameras, self.max_steps = height, width, tuple(cameras), max_steps
        self._scenes: dict[str, MetaWorldScene] = {}
        self._renderers: dict[str, FrameRenderer] = {}
        seen: dict[str, spaces.Space] = {
            name: spaces.Box(0, 255, (height, width, 3), np.uint8) for name in self.cameras
        }
        seen["state"] = spaces.Box(-np.inf, np.inf, (len(self.state_names),), np.float32)
        self.observation_space = spaces.Dict(seen)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.action_names),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new start of a task.

        options: "task", its name; "text", how to say it. What is not given is drawn.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        name = given.pop("task", None) or str(self.np_random.choice(list(TASKS)))
        text = given.pop("text", None)
        if given:
            raise ValueError(f"options: no such key {', '.join(given)}; there are: task, text")
        if name not in TASKS:
            raise ValueError(f"options: no task {name}; there are: {', '.join(TASKS)}")
        self._text = str(self.np_random.choice(TASKS[name].texts)) if text is None else text
        self._task, self._steps, self._scene = name, 0, self._scene_of(name)
        self._scene.place(int(self.np_random.integers(2**31)))
        self._begin = self._scene.moment()
        return self._observe(), self._info(success=False)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the hand for an eightieth of a second.

        Raises ValueError where the action is not 4 finite numbers.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"step: an action is 4 finite numbers, got {action.tolist()}")
        reward, success = self._scene.act(action)
        self._steps += 1
        over = self._steps >= self.max_steps and not success
        return self._observe(), reward, success, over, self._info(success)

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """What the static camera sees."""
        return self._draw("static")

    @staticmethod
    def tasks() -> dict[str, str]:
        """The group of every task: push, drawer, button, door and others."""
        return {name: task.group for name, task in TASKS.items()}

    def goal(self, camera: str = "static") -> UInt8[np.ndarray, "h w 3"] | None:
        """How this episode ends where the expert plays it, in 200 actions at most; None where it fails.

        The task is done in the picture by Meta-World's own word, and the arm is where it has done it. The
        scene is left as it is.
        """
        now, picture = self._scene.moment(), None
        self._scene.restore(self._begin)
        for _ in range(_ENOUGH):
            _, success = self._scene.act(expert_action(self._scene.vector.astype(np.float32), self._task))
            if success:
                picture = self._draw(camera)
                break
        self._scene.restore(now)
        return picture

    def state(self) -> Snapshot:
        """This moment, to come back to with `restore`."""
        return Snapshot(self._task, self._text, self._steps, self._begin, self._scene.moment())

    def restore(self, state: Snapshot) -> Observation:
        """Go back to a moment of this environment or of one like it; what follows is the same to the bit."""
        self._task, self._text, self._steps = state.task, state.text, state.steps
        self._begin, self._scene = state.begin, self._scene_of(state.task)
        self._scene.restore(state.moment)
        return self._observe()

    def close(self) -> None:
        """Free the GL contexts and the scenes."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
        self._scenes.clear()

    def _scene_of(self, task: str) -> MetaWorldScene:
        if task not in self._scenes:
            self._scenes[task] = MetaWorldScene(task)
        return self._scenes[task]

    def _observe(self) -> Observation:
        state = self._scene.vector.astype(np.float32)
        return {name: self._draw(name) for name in self.cameras} | {"state": state}

    def _draw(self, camera: str) -> UInt8[np.ndarray, "h w 3"]:
        if self._task not in self._renderers:
            self._renderers[self._task] = FrameRenderer(
                self._scene.model, height=self.height, width=self.width
            )
        name, turned = _CAMERAS[camera]
        picture = self._renderers[self._task].draw(self._scene.data, name)
        return np.ascontiguousarray(picture[::-1, ::-1]) if turned else picture

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": success, "task": self._task, "text": self._text}
