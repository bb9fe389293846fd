"""A disc that pushes another one, many worlds at once, one for each sequence of actions: to plan with."""

import numpy as np

from components.randomness import mix

REACH = 0.12  # between the centres, when the discs touch
STEP = 0.05  # how far an action of 1 moves the hand


class PushWorld:
    """Hand, object and goal in the unit square, drawn by a seed; actions (x, y) in [-1, 1]."""

    def __init__(self, seed):
        draw = np.random.Generator(np.random.PCG64(mix(0, seed)))
        angle, turn = draw.uniform(0, 2 * np.pi), draw.uniform(-0.9, 0.9)
        self.object = draw.uniform(0.4, 0.6, 2)
        self.hand = self.object + 0.2 * np.array([np.cos(angle), np.sin(angle)])
        away = angle + np.pi + turn  # the push is not quite along the line from the hand to the object
        self.goal = self.object + 0.25 * np.array([np.cos(away), np.sin(away)])

    def run(self, actions):
        """Where the object is after each step of n sequences: (n, t, 2)."""
        hand = np.repeat(self.hand[None], len(actions), axis=0)
        thing = np.repeat(self.object[None], len(actions), axis=0)
        path = []
        for t in range(actions.shape[1]):
            hand = hand + STEP * actions[:, t]
            apart = thing - hand
            distance = np.linalg.norm(apart, axis=1, keepdims=True) + 1e-9
            thing = thing + np.maximum(REACH - distance, 0) * apart / distance
            path.append(thing)
        return np.stack(path, axis=1)

    def away(self, actions):
        """How far the object then is from the goal: (n, t)."""
        return np.linalg.norm(self.run(actions) - self.goal, axis=2)
