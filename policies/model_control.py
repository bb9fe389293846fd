"""Model-predictive control: act out what a world model predicts to end best, look, and plan again."""

from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.plan_costs import PlanCost
from components.planners import Plan, Planner
from policies import Observation, Scene


class ModelControl:
    """Plan with a world model's rollouts towards the picture in which the task is done.

    Until as many frames have been seen as the model starts from, nothing is done. Where a clip of the model
    takes every k-th frame, one of its actions is k of the environment's.

    planner: over sequences of the model's actions. cost: of predicted frames. replan: actions of a plan that
    are carried out before the next one. camera: what is seen.
    Source: visual foresight (arXiv 1812.00568), the control loop.
    """

    needs_model = True
    needs_snapshot = False

    def __init__(
        self,
        *,
        planner: Planner,
        cost: PlanCost,
        replan: int = 6,
        camera: str = "static",
    ) -> None:
        if replan < 1 or cost.needs_pixels:
            raise ValueError(f"replan is {replan}; give at least 1, and a cost of frames, as goal_image")
        self.planner, self.cost, self.replan, self.camera = planner, cost, replan, camera

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "ModelEpisode":
        """Raises ValueError for a model that is told no actions, and a scene without a goal."""
        action_dim = model.hparams["clip"]["action_dim"]
        if not action_dim:
            raise ValueError(f"{type(model).__name__} was trained without actions; take data=lerobot")
        if scene.goal is None:
            raise ValueError("this environment draws no goal, and model_control plans towards one")
        if action_dim % scene.action_width:
            told = f"the model has actions of {action_dim} numbers, the environment of {scene.action_width}"
            raise ValueError(f"{told}; it was trained on another one")
        distribution = getattr(self.planner, "distribution", None)
        if distribution is not None and len(distribution.std) != action_dim:
            told = f"the planner's distribution has a std of {len(distribution.std)} numbers"
            raise ValueError(f"{told}, the model's actions have {action_dim}: set them alike")
        return ModelEpisode(self, model, scene.goal, scene.action_width, seed)


class ModelEpisode:
    def __init__(
        self, policy: ModelControl, model: Any, goal: np.ndarray, action_width: int, seed: int
    ) -> None:
        self.policy, self.model = policy, model
        self.action_dim, self.width = model.hparams["clip"]["action_dim"], action_width
        self.goal = _picture(goal, model.device).float() / 255
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.frames: deque[Tensor] = deque(maxlen=model.context_frames)
        self.actions: deque[Tensor] = deque(maxlen=max(model.context_frames - 1, 1))
        self.ahead: deque[Tensor] = deque()  # the model's actions of the plan
        self.parts: deque[np.ndarray] = deque()  # the environment's of the action under way
        self.plan: Plan | None = None

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        if not self.parts:
            self.frames.append(_picture(observation[self.policy.camera], self.model.device))
            action = self._next()
            self.actions.append(action)
            self.parts.extend(action.cpu().numpy().reshape(-1, self.width))
        return self.parts.popleft()

    def _next(self) -> Float[Tensor, " a"]:
        """The model's next action."""
        if len(self.frames) < self.model.context_frames:
            return torch.zeros(self.action_dim, device=self.model.device)
        if not self.ahead:
            left = None if self.plan is None else self.plan.after(self.policy.replan)
            self.plan = self.policy.planner.plan(self.cost, generator=self.generator, warm=left)
            self.ahead.extend(self.plan.actions[: self.policy.replan])
        return self.ahead.popleft()

    def cost(self, actions: Float[Tensor, "n t a"]) -> Float[Tensor, " n"]:
        """Of what the model predicts for each candidate."""
        n, horizon = actions.shape[:2]
        seen = len(self.frames) - 1  # actions that led from frame to frame
        known = [action.to(actions).expand(n, 1, -1) for action in list(self.actions)[::-1][:seen][::-1]]
        context = {
            "video": torch.stack(list(self.frames)).expand(n, -1, -1, -1, -1),
            "actions": torch.cat([*known, actions], dim=1),
        }
        generator = torch.Generator(self.model.device).manual_seed(0)  # the same luck for every plan
        return self.policy.cost(self.model.predict(context, horizon, generator=generator), self.goal)


def _picture(image: np.ndarray, device: torch.device) -> Tensor:
    """(h, w, 3) as (3, h, w), uint8."""
    return torch.from_numpy(image).movedim(2, 0).to(device)
