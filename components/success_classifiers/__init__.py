"""Success classifiers say from a frame whether a task is done, and learn of a task by pictures of success.

| name | learns of a task by | paper |
|---|---|---|
| few_shot | a gradient step on a few successes, from weights trained for it | few-shot goal inference |

They are trained by recipes.classifier_training, and are the cost `success` of a planner.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Weights = dict[str, Tensor]  # of a network, by name


@runtime_checkable
class SuccessClassifier(Protocol):
    """Frames are (3, h, w) in [0, 1]; logits are of failure and of success."""

    def weights(self) -> Weights:
        """Its own, by name."""

    def adapted(self, successes: Float[Tensor, "k 3 h w"]) -> Weights:
        """Weights for the task of which these are successes; its own ones stay as they are."""

    def logits(
        self, frames: Float[Tensor, "n 3 h w"], weights: Weights | None = None
    ) -> Float[Tensor, "n 2"]:
        """With adapted weights, or with its own where these are None."""

    def __call__(
        self, successes: Float[Tensor, "b k 3 h w"], frames: Float[Tensor, "b n 3 h w"]
    ) -> Float[Tensor, "b n 2"]:
        """Logits of the frames of b tasks, each after adapting to its own successes."""
