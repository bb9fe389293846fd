"""The play-table: drawer, button, lamp and three blocks, after CALVIN's, small enough for one CPU core."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from environments import UnavailableError
from environments.rendering import FrameRenderer, load_mujoco
from environments.table_expert import STEP, expert_action
from environments.table_model import (
    BAR_CLOSED_Y,
    BLOCKS,
    BUTTON_PRESSED,
    FINGER_HIGH,
    FINGER_LOW,
    LOOKS,
    TIMESTEP,
    LookName,
    table_mjcf,
)
from environments.table_state import STATE_NAMES, TableState
from environments.table_tasks import TASKS, draw_start

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:
    raise UnavailableError("gymnasium is missing; pip install -e '.[control]'") from None

_SUBSTEPS = 10
_BAR_Z = 0.015  # of the middle of the drawer's bar
_LEAD = 0.03  # metres that the finger's target may be ahead of a finger that is held up

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class Snapshot:
    """All of one moment but the generator that resets draw from."""

    physics: Float[np.ndarray, " n"]
    led: bool
    task: str
    text: str
    begin: TableState
    steps: int


class PlayTable(gymnasium.Env):
    """Ten language tasks on one table, 20 actions a second.

    Actions are CALVIN's relative ones, 7 numbers in [-1, 1]: the finger's x, y, z, times 2 cm; then three
    angles and a gripper, accepted and without effect, for there is one round finger.
    Observations: a picture for each camera and `state`, whose names are `state_names`.
    The reward is 1 when the task is done, which ends the episode; `begin` goes on with another task.

    height, width: of the pictures, pixels.  look: colours and camera; things lie the same in both.
    cameras: "static", "wrist" or both.  max_steps: actions until a task is given up.
    supersample: each pixel is the mean of so many by so many, so that what is smaller than one shows.

    Raises UnavailableError where MuJoCo or a GL back end is missing, ValueError for a supersample under 1.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / (TIMESTEP * _SUBSTEPS))}  # noqa: RUF012
    render_mode = "rgb_array"
    state_names = STATE_NAMES
    expert = staticmethod(expert_action)
    action_names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")

    def __init__(
        self,
        *,
        height: int = 64,
        width: int = 64,
        look: LookName = "a",
        cameras: tuple[Literal["static", "wrist"], ...] = ("static",),
        max_steps: int = 80,
        supersample: int = 1,
    ) -> None:
        if supersample < 1:
            raise ValueError(f"supersample is {supersample}; give at least 1")
        self.mujoco = load_mujoco()
        self.height, self.width, self.look, self.cameras = height, width, LOOKS[look], tuple(cameras)
        self.max_steps, self.supersample = max_steps, supersample
        buffer = {"height": height * supersample, "width": width * supersample}
        self.model = self.mujoco.MjModel.from_xml_string(table_mjcf(self.look, **buffer))
        self.data = self.mujoco.MjData(self.model)
        self.renderer: FrameRenderer | None = None
        self._led = False
        self._finger, self._drawer, self._button = (
            int(self.model.joint(name).qposadr[0]) for name in ("finger_x", "drawer", "button")
        )
        self._blocks = np.stack([self.model.joint(name).qposadr[0] + np.arange(7) for name in BLOCKS])
        self._lamp = self.model.geom("lamp").id
        seen: dict[str, spaces.Space] = {
            name: spaces.Box(0, 255, (height, width, 3), np.uint8) for name in self.cameras
        }
        seen["state"] = spaces.Box(-np.inf, np.inf, (len(STATE_NAMES),), np.float32)
        self.observation_space = spaces.Dict(seen)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.action_names),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new table and the first task on it.

        options: "task", its name; "text", how to say it; "start", a TableState to begin at, such as a
        chain's. What is not given is drawn.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        name = given.pop("task", None) or str(self.np_random.choice(list(TASKS)))
        text, start = given.pop("text", None), given.pop("start", None)
        if given:
            raise ValueError(f"options: no such key {', '.join(given)}; there are: task, text, start")
        if name not in TASKS:
            raise ValueError(f"options: no task {name}; there are: {', '.join(TASKS)}")
        self._place(draw_start(self.np_random, TASKS[name]) if start is None else start)
        return self._observe(self.table_state()), self.begin(name, text)

    def begin(self, task: str, text: str | None = None) -> dict[str, Any]:
        """Go on with a task from where the table is now, without a reset; returns the first info.

        text: how to say it; one of the task's own ways where it is None.
        """
        if task not in TASKS:
            raise ValueError(f"begin: no task {task}; there are: {', '.join(TASKS)}")
        self._task, self._begin, self._steps = task, self.table_state(), 0
        self._text = str(self.np_random.choice(TASKS[task].texts)) if text is None else text
        return self._info(success=False)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the finger for a twentieth of a second.

        Raises ValueError where the action is not 7 finite numbers.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"step: an action is 7 finite numbers, got {action.tolist()}")
        finger, button = self.data.qpos[self._finger : self._finger + 3], float(self.data.qpos[self._button])
        target = self.data.ctrl + STEP * np.clip(action[:3], -1.0, 1.0)
        target = np.clip(target, finger - _LEAD, finger + _LEAD)
        self.data.ctrl[:] = np.clip(target, FINGER_LOW, FINGER_HIGH)
        self.mujoco.mj_step(self.model, self.data, nstep=_SUBSTEPS)
        if self.data.qpos[self._button] < BUTTON_PRESSED <= button:
            self._led = not self._led
        self._steps += 1
        now = self.table_state()
        success = TASKS[self._task].done(self._begin, now)
        over = self._steps >= self.max_steps and not success
        return self._observe(now), float(success), success, over, self._info(success)

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """What the static camera sees."""
        return self._draw("static")

    @staticmethod
    def tasks() -> dict[str, str]:
        """The group of every task: push, drawer, led."""
        return {name: task.group for name, task in TASKS.items()}

    def goal(self, camera: str = "static") -> UInt8[np.ndarray, "h w 3"]:
        """A picture in which the task is done and all else is as it was; the table is left as it is."""
        now = self.state()
        self._place(TASKS[self._task].outcome(self._begin))
        picture = self._draw(camera)
        self.restore(now)
        return picture

    def designated(
        self, camera: str = "static"
    ) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, "p 2"]] | None:
        """Where in a camera's picture what the task moves is now, and where it should be; None for nothing.

        Rows and columns of pixels, whose middles are whole numbers; outside the picture they go on. The goal
        is where `goal` draws it. What is meant is a pushed block's middle, the middle of the drawer's bar,
        and for the lamp, which does not move, the finger's tip, which goes to the button.
        """
        outcome = TASKS[self._task].outcome(self._begin)
        now = self.table_state()
        moves = (outcome.blocks != self._begin.blocks).any(axis=1)
        if moves.any():
            places = [state.blocks[moves, :3] for state in (now, outcome)]
        elif outcome.drawer != self._begin.drawer:
            places = [np.array([[0.0, BAR_CLOSED_Y - state.drawer, _BAR_Z]]) for state in (now, outcome)]
        elif outcome.led != self._begin.led:
            places = [now.finger[None], self.model.body("button").pos[None]]
        else:
            return None
        moved = outcome.finger - now.finger if self._on_finger(camera) else np.zeros(3)
        return self._project(places[0], camera), self._project(places[1] - moved, camera)

    def _on_finger(self, camera: str) -> bool:
        """Whether the camera moves with the finger, which never turns."""
        return bool(self.model.camera(camera).bodyid[0] == self.model.body("finger").id)

    def _project(self, points: Float[np.ndarray, "p 3"], camera: str) -> Float[np.ndarray, "p 2"]:
        """Rows and columns of points, as the camera is now."""
        self._settle()
        seen = self.data.camera(camera)
        right, up, behind = ((points - seen.xpos) @ seen.xmat.reshape(3, 3)).T
        focal = self.height / 2 / np.tan(np.radians(self.model.camera(camera).fovy[0]) / 2)
        rows = (self.height - 1) / 2 + focal * up / behind
        return np.stack([rows, (self.width - 1) / 2 - focal * right / behind], axis=1)

    def table_state(self) -> TableState:
        """What is where now, in double precision."""
        place = self.data.qpos
        blocks = place[self._blocks]
        qw, qx, qy, qz = blocks[:, 3:].T
        blocks[:, 3] = np.arctan2(2 * (qw * qz + qx * qy), 1 - 2 * (qy**2 + qz**2))
        return TableState(
            finger=place[self._finger : self._finger + 3].copy(),
            drawer=float(place[self._drawer]),
            button=float(place[self._button]),
            led=self._led,
            blocks=blocks[:, :4],
        )

    def state(self) -> Snapshot:
        """This moment, to come back to with `restore`."""
        whole = self.mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(self.mujoco.mj_stateSize(self.model, whole))
        self.mujoco.mj_getState(self.model, self.data, physics, whole)
        return Snapshot(physics, self._led, self._task, self._text, self._begin, self._steps)

    def restore(self, state: Snapshot) -> Observation:
        """Go back to a moment of this table or of one built alike; what follows is the same to the bit."""
        self.mujoco.mj_setState(
            self.model, self.data, state.physics, self.mujoco.mjtState.mjSTATE_INTEGRATION
        )
        self._led, self._task, self._text = state.led, state.task, state.text
        self._begin, self._steps = state.begin, state.steps
        return self._observe(self.table_state())

    def close(self) -> None:
        """Free the GL context."""
        if self.renderer is not None:
            self.renderer.close()
            self.renderer = None

    def _place(self, start: TableState) -> None:
        self.mujoco.mj_resetData(self.model, self.data)
        place = self.data.qpos
        place[self._finger : self._finger + 3] = self.data.ctrl[:] = start.finger
        place[self._drawer], place[self._button] = start.drawer, start.button
        half = start.blocks[:, 3:] / 2
        place[self._blocks] = np.concatenate(
            [start.blocks[:, :3], np.cos(half), np.zeros((len(BLOCKS), 2)), np.sin(half)], axis=1
        )
        self._led = start.led
        self.mujoco.mj_step(self.model, self.data, nstep=2 * _SUBSTEPS)  # blocks come to rest

    def _observe(self, now: TableState) -> Observation:
        return {name: self._draw(name) for name in self.cameras} | {"state": now.vector()}

    def _draw(self, camera: str) -> UInt8[np.ndarray, "h w 3"]:
        if self.renderer is None:
            size = {"height": self.height, "width": self.width, "supersample": self.supersample}
            self.renderer = FrameRenderer(self.model, **size)
        self.model.geom_rgba[self._lamp, :3] = self.look.lamp_on if self._led else self.look.lamp_off
        self._settle()
        return self.renderer.draw(self.data, camera)

    def _settle(self) -> None:
        """Bring bodies and cameras up to now; a step leaves them as they were one substep before its end."""
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": success, "task": self._task, "text": self._text}
