"""What a few-shot cost compares with: pictures of success that the environment's expert makes elsewhere."""

from contextlib import closing
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from components.plan_costs import FewShotCost
from components.randomness import mix
from policies import Scene

TABLES = 0x5CCE55  # seeds the tables that the expert plays on: of no suite's episodes
ATTEMPTS = 10  # of the expert, for each picture


class Successes:
    """The goals of a few-shot cost, one a task: made when the task first comes, and kept.

    camera: what pictures are of.
    """

    def __init__(self, cost: FewShotCost, camera: str) -> None:
        self.cost, self.camera = cost, camera
        self._trained: Any = None
        self._goals: dict[str, Tensor] = {}

    def goal(self, scene: Scene, device: torch.device | str = "cpu") -> Float[Tensor, " m"]:
        """What the cost takes as its goal in this scene.

        Raises ValueError where there is no classifier or no expert, where the expert does not succeed, and
        for pictures of another size than the classifier was trained on.
        """
        if scene.task not in self._goals:
            trained = self.trained(device)
            pictures = self.pictures(scene, trained.context_frames)
            clip, (height, width) = trained.hparams["clip"], pictures.shape[1:3]
            if (height, width) != (clip["height"], clip["width"]):
                told = f"pictures are {height}x{width}, the classifier knows {clip['height']}x{clip['width']}"
                raise ValueError(f"{told}; set suite.env.height and suite.env.width, or train on those")
            shown = torch.from_numpy(pictures).movedim(3, 1).to(device).float() / 255
            self._goals[scene.task] = self.cost.goal_of(shown)
        return self._goals[scene.task]

    def trained(self, device: torch.device | str) -> Any:
        """The training whose classifier the cost asks, loaded once."""
        from checkpoints.own import CheckpointError
        from recipes.classifier_training import ClassifierTraining

        if self._trained is None:
            try:
                self._trained = ClassifierTraining.load(self.cost.classifier).to(device)
            except CheckpointError as error:
                raise ValueError(f"policy.cost.classifier: {error}") from None
            self.cost.network = self._trained.classifier
        return self._trained

    def pictures(self, scene: Scene, count: int) -> UInt8[np.ndarray, "k h w 3"]:
        """The task done on so many tables; the same ones whenever it is asked.

        Raises ValueError where there is no expert, or one that does not succeed.
        """
        check_expert(scene)
        found: list[np.ndarray] = []
        with closing(scene.make()) as env:
            for attempt in range(count * ATTEMPTS):
                last = self._played(env, scene, mix(TABLES, attempt) % 2**31)
                if last is not None:
                    found.append(last)
                if len(found) == count:
                    return np.stack(found)
        told = f"{scene.task}: the expert succeeded on {len(found)} of {count * ATTEMPTS} tables"
        raise ValueError(f"{told}, and {count} pictures of success are wanted; take policy.cost=goal_image")

    def _played(self, env: Any, scene: Scene, seed: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """How an episode of the expert ends, where it succeeds."""
        assert scene.expert is not None
        observation, _ = env.reset(seed=seed, options={"task": scene.task})
        over = False
        while not over:
            action = scene.expert(observation["state"], scene.task)
            observation, _, done, given_up, told = env.step(action)
            over = done or given_up
        return observation[self.camera] if told["success"] else None


def check_expert(scene: Scene) -> None:
    """Raises ValueError where nobody could show success."""
    if scene.expert is None:
        told = "this environment has no expert to show success by"
        raise ValueError(f"{told}; take policy.cost=goal_image")
