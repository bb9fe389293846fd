"""The expected distance of designated pixels from where they should be."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.plan_costs import check_final_weight, mean_over_time


def distances(height: int, width: int, goal: Float[Tensor, "p 2"]) -> Float[Tensor, "p h w"]:
    """From every pixel of an image to each goal (row, column), in pixels."""
    rows = torch.arange(height, device=goal.device)[:, None] - goal[:, 0, None, None]
    columns = torch.arange(width, device=goal.device) - goal[:, 1, None, None]
    return torch.hypot(rows, columns)


def maps_at(places: Float[Tensor, "*n p 2"], height: int, width: int) -> Float[Tensor, "*n p h w"]:
    """Maps with all their mass at one place each, shared among the four pixels around it: the mean is exact.

    What lies outside the image is put on its border.
    """
    rows, columns = places[..., :1].clamp(0, height - 1), places[..., 1:].clamp(0, width - 1)
    down = (1 - (torch.arange(height, device=places.device) - rows).abs()).clamp(min=0)
    across = (1 - (torch.arange(width, device=places.device) - columns).abs()).clamp(min=0)
    return down[..., :, None] * across[..., None, :]


class PixelDistance:
    """c_t = sum over places of P_t(place) * |place - goal|, mean over designated pixels and time; in pixels.

    Maps are distributions, not their peaks: a pixel that may be lost costs what its loss would cost.
    Several cameras are several designated pixels.

    final_weight: of the last step, against 1 for each other one.
    Raises ValueError for a final_weight that is not positive, and as many goals as there are not pixels.
    Source: Visual Foresight (arXiv 1812.00568), planning with designated pixels; final_weight 10 as in its
    official code.
    """

    needs_pixels = True

    def __init__(self, *, final_weight: float = 10.0) -> None:
        self.final_weight = check_final_weight(final_weight)

    def __call__(
        self, predicted: Float[Tensor, "n t p h w"], goal: Float[Tensor, "p2 2"]
    ) -> Float[Tensor, " n"]:
        _, _, num_pixels, height, width = predicted.shape
        if num_pixels != len(goal):
            raise ValueError(f"{num_pixels} designated pixels have {len(goal)} goals; give one each")
        away = distances(height, width, goal.float())
        expected = torch.einsum("ntphw,phw->ntp", predicted.float(), away)
        return mean_over_time(expected.mean(dim=2), self.final_weight)
