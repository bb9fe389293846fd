"""Frechet distance between two sets of videos."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics import VideoFeatures


class FrechetDistance(Metric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), of Gaussians fitted to features of two sets of videos.

    Sums of features and of their outer products in float64 are all that is kept, so that the result does not
    depend on batches or processes. Not a number under two videos a set. Biased upwards for small sets:
    only distances of equally many videos compare.
    Source: Unterthiner et al. 2018 (arXiv 1812.01717), eq. (2), with sample covariances (n - 1).
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    outer: Tensor

    def __init__(self, *, features: VideoFeatures) -> None:
        super().__init__()
        self.features = features
        d = features.dim
        self.add_state("count", default=torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros(2, d, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("outer", default=torch.zeros(2, d, d, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Float[Tensor, "m t 3 h w"], truth: Float[Tensor, "n t 3 h w"]) -> None:
        """Add videos in [0, 1] of both sets."""
        for side, video in enumerate((predicted, truth)):
            features = self.features(video).double()
            self.count[side] += len(features)
            self.total[side] += features.sum(dim=0)
            self.outer[side] += features.T @ features

    def compute(self) -> Float[Tensor, ""]:
        if self.count.min() < 2:
            return self.count.new_tensor(torch.nan)
        mean = self.total / self.count[:, None]
        centred = self.outer - self.count[:, None, None] * mean[:, :, None] * mean[:, None, :]
        covariance = centred / (self.count - 1)[:, None, None]
        return frechet_distance(mean[0], covariance[0], mean[1], covariance[1])

    def videos(self) -> int:
        """How many the smaller set has, over all processes."""
        with self.sync_context():
            return int(self.count.min())


def frechet_distance(
    mean1: Float[Tensor, " d"],
    covariance1: Float[Tensor, "d d"],
    mean2: Float[Tensor, " d"],
    covariance2: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Squared 2-Wasserstein distance of two Gaussians; float64 tensors.

    tr (C1 C2)^(1/2) is the sum of singular values of C1^(1/2) C2^(1/2): real and stable also for singular
    covariances, where the square root of the product C1 C2 itself may turn complex.
    """
    if not (covariance1.isfinite().all() and covariance2.isfinite().all()):
        return mean1.new_tensor(torch.nan)
    cross = torch.linalg.svdvals(_root(covariance1) @ _root(covariance2)).sum()
    distance = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * cross
    return distance.clamp_min(0)  # rounding of equal sets


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Symmetric square root; eigenvalues that are only rounding count as 0."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    rounding = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return (vectors * values.where(values > rounding, 0.0).sqrt()) @ vectors.T
