"""The squared difference between predicted frames and a picture of the goal."""

from jaxtyping import Float
from torch import Tensor

from components.plan_costs import check_final_weight, mean_over_time


class GoalImage:
    """Mean squared error of every predicted frame to the goal, mean over time; frames and goal in [0, 1].

    final_weight: of the last frame, against 1 for each other one.
    Raises ValueError for a final_weight that is not positive, and frames of another size than the goal.
    Source: Visual Foresight's official code (mse-based cost); its 0..255 goals are not followed.
    """

    needs_pixels = False

    def __init__(self, *, final_weight: float = 10.0) -> None:
        self.final_weight = check_final_weight(final_weight)

    def __call__(
        self, predicted: Float[Tensor, "n t c h w"], goal: Float[Tensor, "c2 h2 w2"]
    ) -> Float[Tensor, " n"]:
        if predicted.shape[2:] != goal.shape:
            told = f"predicted frames are {tuple(predicted.shape[2:])}, the goal is {tuple(goal.shape)}"
            raise ValueError(f"{told} (channels, height, width); draw the goal at the model's size")
        errors = (predicted.float() - goal.float()).square().mean(dim=(2, 3, 4))
        return mean_over_time(errors, self.final_weight)
