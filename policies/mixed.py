"""Acting as the expert does, with accidents."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from policies import Episode, Observation, Scene
from policies.expert import Expert
from policies.random_actions import Random


class Mixed:
    """An expert now and then at chance: data of what else can happen and of how to come back from it.

    noise: the share of episodes that are all chance, and the share of such actions in the others.
    """

    needs_model = False
    needs_snapshot = False

    def __init__(self, *, noise: float) -> None:
        if not 0 <= noise <= 1:
            raise ValueError(f"noise is a share in [0, 1], got {noise:g}")
        self.noise, self.expert, self.random = noise, Expert(), Random()

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "MixedEpisode":
        """Raises ValueError where the environment has no expert."""
        rng = np.random.Generator(np.random.PCG64(seed))
        share = 1.0 if rng.random() < self.noise else self.noise
        expert, random = (policy.begin(model, scene, seed=seed) for policy in (self.expert, self.random))
        return MixedEpisode(expert, random, share, rng)


class MixedEpisode:
    def __init__(self, expert: Episode, random: Episode, share: float, rng: np.random.Generator) -> None:
        self.expert, self.random, self.share, self.rng = expert, random, share, rng

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        actor = self.random if self.rng.random() < self.share else self.expert
        return actor.act(observation, snapshot)
