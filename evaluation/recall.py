"""How well a colour that flashed long ago is shown again."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MeanMetric

from components.clip import Clip
from evaluation import Report, Timing

GROUPS = {  # frames between the flash and what is predicted
    "1": (1, 1), "2_3": (2, 3), "4_8": (4, 8), "9_13": (9, 13), "14_18": (14, 18), "19_up": (19, 10_000)
}  # fmt: skip
VARIANCE = 1 / 12  # of a channel of a colour, even from 0 to 1: what showing grey costs


class RecallSuite:
    """Error of the colour that the frames behind the first one show, of clips of datamodules.flash_recall.

    Values: recall_error, and recall_error_2_3 and so on by how many frames lie between the flash and what is
    predicted, where there are such clips. Means over pixels and frames are compared; 1 is showing grey, 2 any
    colour, 0 the right one.
    """

    samples = 1
    horizon = 1.0

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, object]] = {"test": {}}
        self.reset()

    def reset(self) -> None:
        self._all = MeanMetric(nan_strategy="disable")  # a prediction that is no number shows
        self._groups = {name: MeanMetric(nan_strategy="disable") for name in GROUPS}

    def update(
        self,
        predicted: Float[Tensor, "b n t 3 h w"],
        truth: Float[Tensor, "b t 3 h w"],
        clip: Clip,
        timing: Timing | None = None,
    ) -> None:
        """Raises ValueError for clips that do not tell when the flash was, and for frames that are not the
        section in which it shows again: grey frames among them would make any prediction look right."""
        if "state" not in clip or clip["state"].shape[2] != 1:
            raise ValueError("suite=recall asks when a colour flashed; only data=flash_recall tells")
        same = (truth[:, 1:] == truth[:, -1:]).flatten(2).all(dim=2)
        if truth.shape[1] < 2 or not same.all() or torch.equal(truth[:, 0], truth[:, -1]):
            wanted = "give as many context_frames as leave data.section of the clip's frames"
            raise ValueError(f"suite=recall: the {truth.shape[1]} frames to predict are no section; {wanted}")
        shown, wanted = predicted[:, 0, 1:].mean(dim=(1, 3, 4)), truth[:, 1:].mean(dim=(1, 3, 4))
        errors = (shown - wanted).square().mean(dim=1) / VARIANCE
        self._all.to(errors.device).update(errors)
        ago = clip["state"][:, 0, 0]
        for name, (low, high) in GROUPS.items():
            inside = (ago >= low) & (ago <= high)
            self._groups[name].to(errors.device).update(errors[inside])

    def compute(self) -> Report:
        values = {"recall_error": self._all.compute().item()}
        for name, metric in self._groups.items():
            if metric.weight > 0:
                values[f"recall_error_{name}"] = metric.compute().item()
        return Report(values=values)
