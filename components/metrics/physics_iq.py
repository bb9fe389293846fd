"""Physics-IQ: does motion happen where, when and as much as in reality, as far as reality repeats itself?

| part | of the motion masks m of truth and prediction | right value |
|---|---|---|
| spatial_iou | overlap of the pixels in which anything ever moves | 1 |
| spatiotemporal_iou | overlap of each frame's pixels, mean over frames | 1 |
| weighted_spatial_iou | overlap of a(x) = mean over time of m(x): sum of minima over sum of maxima | 1 |
| mse | mean squared difference of the frames, values in [0, 1] | 0 |

Masks that are both empty overlap by 1. Scores divide by what a second take of the same scene reaches.
It measures where and when motion happens, not laws: a video played backwards keeps most of its score.
Source: Motamed et al. 2025 (arXiv 2501.09038) and its released code; Physics-IQ Verified (arXiv 2606.18943).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics.motion_mask import motion_masks, shrink_frames, shrink_masks

PARTS = ("spatial_iou", "spatiotemporal_iou", "weighted_spatial_iou", "mse")
PERFECT = (1.0, 1.0, 1.0, 0.0)  # what a take that repeats the first exactly reaches
DECIMALS = 4  # values of single frames are rounded to, as the released code does when it reads its tables
TINY = 1e-8


def agreement(
    predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"], *, shrink: int
) -> Float[Tensor, "b 4"]:
    """The four parts of each pair of videos, in the order of PARTS.

    shrink: frames and masks are reduced by this before they are compared; the benchmark's 4 is for its
    frames of 3840x2160.
    """
    frames = [shrink_frames(video.float(), shrink) for video in (predicted, truth)]
    error = (frames[0] - frames[1]).double().square().mean(dim=(2, 3, 4))
    found, true = (shrink_masks(motion_masks(video), shrink) for video in (predicted, truth))
    often = [mask.double().mean(dim=1) for mask in (found, true)]
    parts = (
        overlap(found.any(dim=1).double(), true.any(dim=1).double()),
        overlap(found.double(), true.double()).round(decimals=DECIMALS).mean(dim=1),
        overlap(*often),
        error.round(decimals=DECIMALS).mean(dim=1),
    )
    return torch.stack(parts, dim=1)


def overlap(a: Float[Tensor, "*n h w"], b: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n"]:
    """Sum of minima over sum of maxima, 1 if both are empty; of masks this is intersection over union."""
    shared = torch.minimum(a, b).sum(dim=(-2, -1))
    either = torch.maximum(a, b).sum(dim=(-2, -1))
    return torch.where(either > 0, shared / either, 1.0)


def original_score(mean: Float[Tensor, "4"], variance: Float[Tensor, "4"]) -> Float[Tensor, ""]:
    """100 clip(mean of three ratios - (mse - mse of the takes), 0, 1), of means over all clips."""
    score = (mean[:3] / variance[:3]).mean() - (mean[3] - variance[3])
    return (100 * score.clamp(0, 1)).round(decimals=2)


def stable_score(mean: Float[Tensor, "4"], variance: Float[Tensor, "4"]) -> Float[Tensor, ""]:
    """The original score with each of its terms clipped to [0, 1], so that none makes up for another."""
    excess = (mean[3] - variance[3]).clamp(0, 1)
    score = (mean[:3] / variance[:3]).clamp(0, 1).mean() - excess
    return (100 * score.clamp(0, 1)).round(decimals=2)


def verified_scores(value: Float[Tensor, "b 4"], variance: Float[Tensor, "b 4"]) -> Float[Tensor, " b"]:
    """100 times the mean of four clipped ratios, mse upside down; each clip has one vote."""
    overlaps = (value[:, :3] / (variance[:, :3] + TINY)).clamp(0, 1)
    error, least = value[:, 3], variance[:, 3]
    closeness = torch.where(error > least, least / error.clamp_min(TINY), 1.0)
    return 100 * torch.cat((overlaps, closeness.unsqueeze(1)), dim=1).mean(dim=1)


class PhysicsIQ(Metric):
    """The four parts over all clips, and the scores in percent.

    Without second takes the scores are against a perfect repetition (overlaps 1, mse 0), and so never higher
    than they would be; the verified one, which needs an mse to compare with, is NaN then.
    """

    full_state_update = False
    value: Tensor
    variance: Tensor
    verified: Tensor
    count: Tensor
    takes: Tensor

    def __init__(self, *, shrink: int = 1) -> None:
        super().__init__()
        self.shrink = shrink
        for name, size in (("value", 4), ("variance", 4), ("verified", 1), ("count", 1), ("takes", 1)):
            self.add_state(name, default=torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        predicted: Float[Tensor, "b t 3 h w"],
        truth: Float[Tensor, "b t 3 h w"],
        second_take: Float[Tensor, "b t 3 h w"] | None = None,
    ) -> None:
        """Add pairs of videos in [0, 1]; second_take: the same scenes, recorded once more."""
        value = agreement(predicted, truth, shrink=self.shrink)
        if second_take is None:
            variance = value.new_tensor(PERFECT).expand_as(value)
        else:
            variance = agreement(second_take, truth, shrink=self.shrink)
            self.verified += verified_scores(value, variance).sum()
            self.takes += len(value)
        self.value += value.sum(dim=0)
        self.variance += variance.sum(dim=0)
        self.count += len(value)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The parts by name, then score, score_stable and score_verified."""
        mean, variance = self.value / self.count, self.variance / self.count
        verified = torch.where(self.takes == self.count, self.verified / self.count, torch.nan)
        return dict(zip(PARTS, mean.unbind(), strict=True)) | {
            "score": original_score(mean, variance),
            "score_stable": stable_score(mean, variance),
            "score_verified": verified.squeeze(0),
        }
