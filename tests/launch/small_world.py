"""An environment for tests of recording: a bright dot that is moved over two small pictures of odd sizes."""

import time
from pathlib import Path

import numpy as np

ACTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
SIZES = {"static": (15, 17), "wrist": (16, 9)}


def expert(state, task):
    action = np.zeros(len(ACTIONS), dtype=np.float32)
    action[0] = 0.75 if task == "right" else -0.75
    return action


class SmallWorld:
    """Move the dot three pixels to one side; some tables take longer than others.

    hold: a folder in which every episode leaves a mark; once there are `limit` of them, the next ones wait
    for a file `go` in it.
    """

    metadata = {"render_fps": 10}  # noqa: RUF012
    state_names = ("place", "noise")
    action_names = ACTIONS
    expert = staticmethod(expert)

    def __init__(self, *, cameras: list[str], hold: str | None = None, limit: int = 0):
        self.cameras, self.hold, self.limit = cameras, hold and Path(hold), limit

    @staticmethod
    def tasks():
        return {"left": "go", "right": "go"}

    def reset(self, *, seed, options):
        self._wait(seed)
        self.rng, self.task, self.steps = np.random.default_rng(seed), options["task"], 0
        self.place = self.first = float(self.rng.uniform(4, 12))
        return self._seen(), {"text": f"go {self.task}", "success": False}

    def step(self, action):
        assert action.shape == (len(ACTIONS),)
        self.place, self.steps = self.place + float(action[0]), self.steps + 1
        success = (self.place - self.first) * {"left": -1, "right": 1}[self.task] >= 3
        return self._seen(), float(success), success, self.steps == 8, {"success": success}

    def close(self):
        pass

    def _wait(self, seed):
        if self.hold is None:
            return
        (self.hold / str(seed)).touch()
        while len(list(self.hold.iterdir())) >= self.limit and not (self.hold / "go").exists():
            time.sleep(0.01)

    def _seen(self):
        state = np.array([self.place, self.rng.normal()], dtype=np.float32)
        return {name: self._drawn(*SIZES[name]) for name in self.cameras} | {"state": state}

    def _drawn(self, height, width):
        """Noise, which a lossy codec would change, and the dot."""
        picture = self.rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        picture[height // 2, np.clip(round(self.place), 0, width - 1)] = 255
        return picture
