"""Predicted clips whose discriminator features point where the real ones' do."""

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-10  # a vector of zeros has no direction


def feature_matching(
    fake: list[Float[Tensor, "n _channels ..."]], real: list[Float[Tensor, "n _channels ..."]]
) -> Float[Tensor, ""]:
    """Cosine distance of feature vectors, mean over places and clips, summed over layers.

    0.5 |f/|f| - g/|g||^2 with channels on axis 1. No gradient reaches the real features.
    Source: SAVP's official code, losses.cosine_distance over the 7 feature layers.
    """
    distances = [
        0.5 * (_direction(x) - _direction(y.detach())).square().sum(dim=1).mean()
        for x, y in zip(fake, real, strict=True)
    ]
    return torch.stack(distances).sum()


def _direction(features: Float[Tensor, "n f *pixels"]) -> Float[Tensor, "n f *pixels"]:
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPSILON)
