"""Model-predictive control: act out what a world model predicts to end best, look, and plan again."""

from collections import deque
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from components.plan_costs import FewShotCost, PlanCost
from components.plan_costs.pixel_distance import maps_at
from components.planners import Plan, Planner
from policies import Observation, Scene
from policies.successes import Successes, check_expert


class ModelControl:
    """Plan with a world model's rollouts towards the picture in which the task is done, or pixels' places, or
    what pictures of success on other tables say.

    Until as many frames have been seen as the model starts from, nothing is done. Where a clip of the model
    takes every k-th frame, one of its actions is k of the environment's.

    planner: over sequences of the model's actions, or of the environment's, each of which is then done k
    times. cost: of predicted frames, or of where the model's `track` says that designated pixels go.
    replan: actions of a plan that are carried out before the next one.
    camera: what is seen.
    tracking: how the places of designated pixels are known in later frames. "propagation": as the model
    predicted of what was carried out, never corrected; "oracle": told by the simulator, which bounds what
    a tracker could add.
    precision: of the model's predictions; "bf16-mixed" is faster where the machine knows it, and coarser.
    Source: visual foresight (arXiv 1812.00568), the control loop; "propagation" is its official code's
    `predictor_propagation`.
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
        tracking: Literal["propagation", "oracle"] = "propagation",
        precision: Literal["32-true", "bf16-mixed"] = "32-true",
    ) -> None:
        if replan < 1:
            raise ValueError(f"replan is {replan}; give at least 1")
        self.planner, self.cost, self.replan, self.camera = planner, cost, replan, camera
        self.precision = precision
        self.needs_places = cost.needs_pixels and tracking == "oracle"
        self.successes = Successes(cost, camera) if isinstance(cost, FewShotCost) else None

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "ModelEpisode":
        """Raises ValueError for a model without actions or, where the cost is of pixels, without `track`,
        and for a scene without what the cost compares with.
        """
        action_dim = model.hparams["clip"]["action_dim"]
        if not action_dim:
            raise ValueError(f"{type(model).__name__} was trained without actions; take data=lerobot")
        if self.cost.needs_pixels and not hasattr(model, "track"):
            raise ValueError(
                f"{type(model).__name__} follows no designated pixels; take policy.cost=goal_image"
            )
        check_wanted(self.cost, scene)
        if action_dim % scene.action_width:
            told = f"the model has actions of {action_dim} numbers, the environment of {scene.action_width}"
            raise ValueError(f"{told}; it was trained on another one")
        distribution = getattr(self.planner, "distribution", None)
        if distribution is not None and len(distribution.std) not in (action_dim, scene.action_width):
            told = f"the planner's distribution has a std of {len(distribution.std)} numbers"
            raise ValueError(f"{told}, the model's actions have {action_dim}: set them alike")
        return ModelEpisode(self, model, scene, seed)


def check_wanted(cost: PlanCost, scene: Scene) -> None:
    """Raises ValueError for a scene that does not tell what the cost compares with."""
    if isinstance(cost, FewShotCost):
        return check_expert(scene)
    if cost.needs_pixels and scene.places is None:
        raise ValueError("this environment designates no pixels; take policy.cost=goal_image")
    if not cost.needs_pixels and scene.goal is None:
        raise ValueError("this environment draws no goal, and the cost compares with one")


class ModelEpisode:
    def __init__(self, policy: ModelControl, model: Any, scene: Scene, seed: int) -> None:
        self.policy, self.model, self.width = policy, model, scene.action_width
        self.action_dim = model.hparams["clip"]["action_dim"]
        self.goal, self.maps = _wanted(policy, model, scene)
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.frames: deque[Tensor] = deque(maxlen=model.context_frames)
        self.actions: deque[Tensor] = deque(maxlen=max(model.context_frames - 1, 1))
        self.ahead: deque[Tensor] = deque()  # the model's actions of the plan
        self.parts: deque[np.ndarray] = deque()  # the environment's of the action under way
        self.plan: Plan | None = None

    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        if not self.parts:
            self.frames.append(_picture(observation[self.policy.camera], self.model.device))
            if self.maps is not None:
                self.maps.look(observation.get("designated"))
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
            actions = self.whole(self.plan.actions)
            self.ahead.extend(actions[: self.policy.replan])
            if self.maps is not None and not self.policy.needs_places:
                self.maps.expect(self.predicted(actions[None])[0])
        return self.ahead.popleft()

    def whole(self, actions: Float[Tensor, "*n t a"]) -> Float[Tensor, "*n t b"]:
        """Planned actions as the model's: one of the environment's is done as often as the model skips."""
        return actions.repeat(*[1] * (actions.ndim - 1), self.action_dim // actions.shape[-1])

    def cost(self, actions: Float[Tensor, "n t a"]) -> Float[Tensor, " n"]:
        """Of what the model predicts for each candidate."""
        return self.policy.cost(self.predicted(self.whole(actions)), self.goal)

    def predicted(self, actions: Float[Tensor, "n t a"]) -> Float[Tensor, "n t k h w"]:
        """Frames, or maps of designated pixels where the cost is theirs."""
        n, horizon = actions.shape[:2]
        seen = len(self.frames) - 1  # actions that led from frame to frame
        known = [action.to(actions).expand(n, 1, -1) for action in list(self.actions)[::-1][:seen][::-1]]
        context = {
            "video": torch.stack(list(self.frames)).expand(n, -1, -1, -1, -1),
            "actions": torch.cat([*known, actions], dim=1),
        }
        generator = torch.Generator(self.model.device).manual_seed(0)  # the same luck for every plan
        coarse = self.policy.precision == "bf16-mixed"
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=coarse):
            if self.maps is None:
                return self.model.predict(context, horizon, generator=generator)
            designated = self.maps.known().expand(n, -1, -1, -1, -1)
            return self.model.track(context, horizon, designated, generator=generator).float()


class PixelMaps:
    """Where designated pixels are in the last `num_frames` frames seen, as distributions over the image."""

    def __init__(self, first: Float[Tensor, "p h w"], num_frames: int) -> None:
        self.last: deque[Tensor] = deque([first] * num_frames, maxlen=num_frames)
        self.expected: deque[Tensor] = deque()

    def look(self, places: Float[np.ndarray, "p 2"] | None) -> None:
        """One more frame: at true places where these are told, else as expected, else all as before."""
        if places is not None:
            height, width = self.last[-1].shape[-2:]
            self.last.append(maps_at(torch.from_numpy(places).to(self.last[-1]), height, width))
        else:
            self.last.append(self.expected.popleft() if self.expected else self.last[-1])

    def expect(self, maps: Float[Tensor, "t p h w"]) -> None:
        """What a plan that is now carried out will lead to."""
        self.expected = deque(maps)

    def known(self) -> Float[Tensor, "c p h w"]:
        return torch.stack(list(self.last))


def _wanted(policy: ModelControl, model: Any, scene: Scene) -> tuple[Tensor, PixelMaps | None]:
    """What the cost compares with, and where its pixels are."""
    if policy.successes is not None:
        return policy.successes.goal(scene, model.device), None
    if not policy.cost.needs_pixels:
        assert scene.goal is not None
        return _picture(scene.goal, model.device).float() / 255, None
    assert scene.places is not None
    now, goal = (torch.from_numpy(places).float().to(model.device) for places in scene.places)
    clip = model.hparams["clip"]
    return goal, PixelMaps(maps_at(now, clip["height"], clip["width"]), model.context_frames)


def _picture(image: np.ndarray, device: torch.device) -> Tensor:
    """(h, w, 3) as (3, h, w), uint8."""
    return torch.from_numpy(image).movedim(2, 0).to(device)
