"""How surely a classifier that was shown a few successes says that predicted frames are none."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.plan_costs import check_final_weight, mean_over_time
from components.success_classifiers import SuccessClassifier, Weights

LEAST = 1e-5  # added to probabilities, so that no cost is infinite


class Success:
    """c_t = -log(p_success(frame_t) + 1e-5), mean over time; frames in [0, 1], the goal what pictures say.

    classifier: a run, or a file of weights, of recipes.classifier_training. Who plans loads it into
    `network`, and gives pictures in which the task is done to `goal_of`.
    final_weight: of the last frame, against 1 for each other one.
    Raises ValueError for a final_weight that is not positive, and where no network was loaded.
    Source: Visual Foresight (arXiv 1812.00568), planning with a few-shot classifier (arXiv 1810.00482);
    final_weight 100 as in its official code.
    """

    needs_pixels = False

    def __init__(self, *, classifier: str, final_weight: float = 100.0) -> None:
        self.classifier, self.final_weight = classifier, check_final_weight(final_weight)
        self.network: SuccessClassifier | None = None

    def goal_of(self, successes: Float[Tensor, "k 3 h w"]) -> Float[Tensor, " m"]:
        """The weights of a classifier that is adapted to them, one after another."""
        adapted = self._loaded().adapted(successes)
        return torch.cat([weight.detach().flatten() for weight in adapted.values()])

    def __call__(
        self, predicted: Float[Tensor, "n t c h w"], goal: Float[Tensor, " m"]
    ) -> Float[Tensor, " n"]:
        network = self._loaded()
        logits = network.logits(predicted.float().flatten(0, 1), _unflattened(goal, network.weights()))
        likely = logits.softmax(dim=1)[:, 1].view(predicted.shape[:2])
        return mean_over_time(-(likely + LEAST).log(), self.final_weight)

    def _loaded(self) -> SuccessClassifier:
        if self.network is None:
            raise ValueError(f"the cost success has not loaded {self.classifier}; plan with model_control")
        return self.network


def _unflattened(goal: Float[Tensor, " m"], like: Weights) -> Weights:
    parts = goal.split([weight.numel() for weight in like.values()])
    return {name: part.view_as(like[name]) for name, part in zip(like, parts, strict=True)}
