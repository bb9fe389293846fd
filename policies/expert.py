"""Acting as the environment's expert does."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from policies import Observation, Scene


class Expert:
    """Rules that look at the simulator's state: what a policy can reach at best."""

    needs_model = False
    needs_snapshot = False

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "ExpertEpisode":
        """Raises ValueError where the environment has no expert."""
        if scene.expert is None:
            raise ValueError("this environment has no expert; take suite.policy=random")
        return ExpertEpisode(scene)


class ExpertEpisode:
    def __init__(self, scene: Scene) -> None:
        assert scene.expert is not None
        self.expert, self.task = scene.expert, scene.task

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        return self.expert(observation["state"], self.task)
