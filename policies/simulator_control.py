"""Planning with the simulator itself: what model-predictive control would reach with a perfect model."""

from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.plan_costs import FewShotCost, PlanCost
from components.plan_costs.pixel_distance import maps_at
from components.planners import Plan, Planner
from policies import Observation, Scene
from policies.model_control import check_wanted
from policies.successes import Successes


class SimulatorControl:
    """Plan as ModelControl does, each candidate carried out in a copy of the environment.

    planner: over sequences of actions. cost: of the frames that come of them, or of where designated pixels
    then are, for which the copy need not draw. replan: actions that are carried out before the next plan.
    camera: what is seen.
    """

    needs_model = False
    needs_snapshot = True

    def __init__(self, *, planner: Planner, cost: PlanCost, replan: int = 6, camera: str = "static") -> None:
        if replan < 1:
            raise ValueError(f"replan is {replan}; give at least 1")
        self.planner, self.cost, self.replan, self.camera = planner, cost, replan, camera
        self.successes = Successes(cost, camera) if isinstance(cost, FewShotCost) else None
        self._copy: Any = None

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "SimulatorEpisode":
        """Raises ValueError for a scene without what the cost compares with."""
        check_wanted(self.cost, scene)
        distribution = getattr(self.planner, "distribution", None)
        if distribution is not None and len(distribution.std) != scene.action_width:
            told = f"the planner's distribution has a std of {len(distribution.std)} numbers"
            raise ValueError(f"{told}, the environment's actions have {scene.action_width}: set them alike")
        if self._copy is None:
            self._copy = scene.make(cameras=()) if self.cost.needs_pixels else scene.make()
            self._copy.reset(seed=0, options={"task": scene.task})
        return SimulatorEpisode(self, self._copy, scene, seed)


class SimulatorEpisode:
    def __init__(self, policy: SimulatorControl, copy: Any, scene: Scene, seed: int) -> None:
        self.policy, self.copy = policy, copy
        if policy.successes is not None:
            self.goal = policy.successes.goal(scene)
        elif policy.cost.needs_pixels:
            assert scene.places is not None
            self.goal = torch.from_numpy(scene.places[1]).float()
        else:
            assert scene.goal is not None
            self.goal = torch.from_numpy(scene.goal).movedim(2, 0).float() / 255
        self.generator = torch.Generator().manual_seed(seed)
        self.ahead: deque[Tensor] = deque()
        self.plan: Plan | None = None
        self.now: Any = None
        self.size = (0, 0)  # of a picture

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        if not self.ahead:
            self.now, self.size = snapshot, observation[self.policy.camera].shape[:2]
            left = None if self.plan is None else self.plan.after(self.policy.replan)
            self.plan = self.policy.planner.plan(self.cost, generator=self.generator, warm=left)
            self.ahead.extend(self.plan.actions[: self.policy.replan])
        return self.ahead.popleft().numpy().astype(np.float32)

    def cost(self, actions: Float[Tensor, "n t a"]) -> Float[Tensor, " n"]:
        """Of what each candidate leads to."""
        watch = self.places if self.policy.cost.needs_pixels else self.frames
        return torch.cat([self.policy.cost(watch(candidate)[None], self.goal) for candidate in actions])

    def frames(self, actions: Float[Tensor, "t a"]) -> Float[Tensor, "t 3 h w"]:
        self.copy.restore(self.now)
        frames = [self.copy.step(action)[0][self.policy.camera] for action in actions.numpy()]
        return torch.from_numpy(np.stack(frames)).movedim(3, 1).float() / 255

    def places(self, actions: Float[Tensor, "t a"]) -> Float[Tensor, "t p h w"]:
        """Where designated pixels are, each as a map with all its mass there."""
        self.copy.restore(self.now)
        places = []
        for action in actions.numpy():
            self.copy.step(action)
            places.append(self.copy.designated(self.policy.camera)[0])
        return maps_at(torch.from_numpy(np.stack(places)).float(), *self.size)
