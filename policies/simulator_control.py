"""Planning with the simulator itself: what model-predictive control would reach with a perfect model."""

from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.plan_costs import PlanCost
from components.planners import Plan, Planner
from policies import Observation, Scene


class SimulatorControl:
    """Plan as ModelControl does, each candidate carried out in a copy of the environment.

    planner: over sequences of actions. cost: of the frames that come of them. replan: actions that are
    carried out before the next plan. camera: what is seen.
    """

    needs_model = False
    needs_snapshot = True

    def __init__(self, *, planner: Planner, cost: PlanCost, replan: int = 6, camera: str = "static") -> None:
        if replan < 1 or cost.needs_pixels:
            raise ValueError(f"replan is {replan}; give at least 1, and a cost of frames, as goal_image")
        self.planner, self.cost, self.replan, self.camera = planner, cost, replan, camera
        self._copy: Any = None

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "SimulatorEpisode":
        """Raises ValueError for a scene without a goal."""
        if scene.goal is None:
            raise ValueError("this environment draws no goal, and simulator_control plans towards one")
        if self._copy is None:
            self._copy = scene.make()
            self._copy.reset(seed=0, options={"task": scene.task})
        return SimulatorEpisode(self, self._copy, scene.goal, seed)


class SimulatorEpisode:
    def __init__(self, policy: SimulatorControl, copy: Any, goal: np.ndarray, seed: int) -> None:
        self.policy, self.copy = policy, copy
        self.goal = torch.from_numpy(goal).movedim(2, 0).float() / 255
        self.generator = torch.Generator().manual_seed(seed)
        self.ahead: deque[Tensor] = deque()
        self.plan: Plan | None = None
        self.now: Any = None

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        if not self.ahead:
            self.now = snapshot
            left = None if self.plan is None else self.plan.after(self.policy.replan)
            self.plan = self.policy.planner.plan(self.cost, generator=self.generator, warm=left)
            self.ahead.extend(self.plan.actions[: self.policy.replan])
        return self.ahead.popleft().numpy().astype(np.float32)

    def cost(self, actions: Float[Tensor, "n t a"]) -> Float[Tensor, " n"]:
        """Of the frames that each candidate leads to."""
        costs = []
        for candidate in actions:
            self.copy.restore(self.now)
            frames = [self.copy.step(action.numpy())[0][self.policy.camera] for action in candidate]
            video = torch.from_numpy(np.stack(frames)).movedim(3, 1).float() / 255
            costs.append(self.policy.cost(video[None], self.goal)[0])
        return torch.stack(costs)
