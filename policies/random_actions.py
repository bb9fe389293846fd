"""Acting by chance."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from environments.table_expert import RandomActions
from policies import Observation, Scene


class Random:
    """Correlated chance, the same actions for the same seed: what any policy has to beat."""

    needs_model = False
    needs_snapshot = False

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "RandomEpisode":
        return RandomEpisode(seed, scene.action_width)


class RandomEpisode:
    def __init__(self, seed: int, width: int) -> None:
        self.actions = RandomActions(seed=seed, width=width)

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        return self.actions()
