"""A dot on a picture, pushed straight by its actions, and models that say where it goes: to plan with."""

import numpy as np
import torch

from components.plan_costs.pixel_distance import maps_at
from policies import Scene

SIDE = 16


class DotWorld:
    """Four pixels down and three to the right is where the dot should be; actions are (rows, columns)."""

    action_names = ("down", "right")

    def __init__(self, *, cameras=("static",)):
        self.cameras = cameras

    def reset(self, *, seed=None, options=None):
        place = np.random.Generator(np.random.PCG64(seed)).uniform(3, 8, 2)
        return self.restore((place, place + np.array([4.0, 3.0])))

    def step(self, action):
        self.place = self.place + action
        done = np.linalg.norm(self.place - self.goal_place) < 1
        return self._seen(), float(done), bool(done), False, {"success": bool(done)}

    def goal(self, camera):
        return self._drawn(self.goal_place)

    def designated(self, camera):
        return self.place[None], self.goal_place[None]

    def state(self):
        return self.place, self.goal_place

    def restore(self, state):
        self.place, self.goal_place = state
        return self._seen()

    def _seen(self):
        return {name: self._drawn(self.place) for name in self.cameras}

    def _drawn(self, place):
        dot = maps_at(torch.from_numpy(place[None]).float(), SIDE, SIDE)[0].numpy()
        return np.repeat((255 * dot).astype(np.uint8)[..., None], 3, axis=2)


def scene_of(world, *, places=True):
    now = world.designated("static") if places else None
    return Scene("go", "go there", world.goal("static"), DotWorld, 2, None, now)


class DotModel:
    """Moves maps by what the actions say, `gain` times as far: exact for 1. Two frames of context."""

    context_frames = 2

    def __init__(self, *, gain=1.0, skip=1):
        self.device, self.gain = torch.device("cpu"), gain
        self.hparams = {"clip": {"height": SIDE, "width": SIDE, "action_dim": 2 * skip}}
        self.asked = []

    def track(self, context, horizon, designated, *, generator):
        video, actions = context["video"], context["actions"]
        assert designated.shape[:2] == video.shape[:2]
        assert actions.shape[1] == video.shape[1] - 1 + horizon
        if len(video) > 1:
            self.asked.append((video[0], designated[0]))
        moves = self.gain * actions[:, video.shape[1] - 1 :].unflatten(2, (-1, 2)).sum(2)
        down, right = moves.cumsum(1)[:, :, None].unbind(-1)
        return shift(down) @ designated[:, -1:] @ shift(right).mT


def shift(by):
    """Matrices that move what stands in a vector on by so many places, between two places in shares."""
    places = torch.arange(float(SIDE))
    return (1 - (places[:, None] - places - by[..., None, None]).abs()).clamp(min=0)


def mean_place(maps):
    """Of maps (..., h, w): row and column."""
    places = torch.arange(float(SIDE))
    return torch.stack([(maps.sum(-1) * places).sum(-1), (maps.sum(-2) * places).sum(-1)], dim=-1)
