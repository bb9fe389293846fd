"""An environment of one dot on a line, for tests: quick to start in other processes, and it can crash."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np


def expert(state, task):
    action = np.zeros(2, dtype=np.float32)
    action[0] = 1.0 if task == "right" else -1.0
    return action


class PointWorld:
    """Move the dot four pixels to one side. crash: a file that is removed by the one episode that crashes."""

    expert = staticmethod(expert)
    action_names = ("x", "y")

    def __init__(self, *, height=16, width=16, crash=None, max_steps=12):
        self.height, self.width, self.crash, self.max_steps = height, width, crash, max_steps

    @staticmethod
    def tasks():
        return {"left": "go", "right": "go", "stay": "rest"}

    def reset(self, *, seed=None, options=None):
        self.task, self.steps = options["task"], 0
        self.x = self.first = float(np.random.Generator(np.random.PCG64(seed)).integers(5, self.width - 5))
        return self._seen(), {"task": self.task, "text": f"go {self.task}", "success": False}

    def step(self, action):
        if self.crash is not None:
            with suppress(FileNotFoundError):
                Path(self.crash).unlink()
                os._exit(3)
        self.x, self.steps = self.x + float(action[0]), self.steps + 1
        moved = (self.x - self.first) * {"left": -1, "right": 1, "stay": 0}[self.task]
        success = moved >= 4
        over = self.steps >= self.max_steps and not success
        info = {"task": self.task, "text": "", "success": success}
        return self._seen(), float(success), success, over, info

    def goal(self, camera):
        return self._drawn(self.first + {"left": -4, "right": 4, "stay": 0}[self.task])

    def state(self):
        return self.x, self.first, self.task, self.steps

    def restore(self, state):
        self.x, self.first, self.task, self.steps = state
        return self._seen()

    def close(self):
        pass

    def _seen(self):
        return {"static": self._drawn(self.x), "state": np.array([self.x], dtype=np.float32)}

    def _drawn(self, x):
        picture = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        columns = np.arange(self.width)
        picture[:] = (255 * np.clip(1.5 - abs(columns - x) / 2, 0, 1))[None, :, None]
        return picture
