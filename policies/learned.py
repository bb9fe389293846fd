"""Acting as each model has learned to, so that one table holds models of every kind."""

from typing import Any

from policies import Episode, Policy, Scene
from policies.inverse_dynamics import beside


class Learned:
    """By a model's own actions where it has `act`, by inverse dynamics where its run has learned some, else
    by planning with what it predicts.

    reactive, inverse_dynamics, planning: the policies of the three. All see through the first's cameras.
    """

    needs_model = True
    needs_snapshot = False

    def __init__(self, *, reactive: Policy, inverse_dynamics: Policy, planning: Policy) -> None:
        self.reactive, self.inverse_dynamics, self.planning = reactive, inverse_dynamics, planning
        self.needs_places = getattr(planning, "needs_places", False)

    def begin(self, model: Any, scene: Scene, *, seed: int) -> Episode:
        """Raises ValueError where the policy of such models does."""
        return self.of(model).begin(model, scene, seed=seed)

    def of(self, model: Any) -> Policy:
        if hasattr(model, "act"):
            return self.reactive
        try:
            beside(model.loaded_from)
        except ValueError:
            return self.planning
        return self.inverse_dynamics
