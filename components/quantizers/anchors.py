"""Where CVQ puts codes that are not used: features of the batch of all ranks.

A place counts features in rank order, so that any number of ranks finds the same ones.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from components.quantizers.nearest import Distance, chunks, similarity
from components.quantizers.ranks import JoinedFeatures, gather_over_ranks, sum_over_ranks


def closest(
    features: JoinedFeatures, codes: Float[Tensor, "k d"], *, distance: Distance
) -> Int[Tensor, " k"]:
    """Place of the feature nearest to each code."""
    local = [
        similarity(part, features.local, distance=distance).max(dim=1)
        for part in chunks(codes, features.local)
    ]
    nearness = gather_over_ranks(torch.cat([part.values for part in local]))
    places = gather_over_ranks(torch.cat([part.indices for part in local]) + features.first)
    return places.gather(0, nearness.argmax(dim=0, keepdim=True))[0]


def probable(
    features: JoinedFeatures,
    codes: Float[Tensor, "k d"],
    uniform: Float[Tensor, " k"],
    *,
    distance: Distance,
) -> Int[Tensor, " k"]:
    """Place of one feature for each code, drawn with the softmax of the code's similarities to all.

    uniform: in [0, 1), where the cumulative probability in order of place is met. First the rank is found
    that holds the draw, then the feature within it.
    """
    parts = chunks(codes, features.local)
    mass = [similarity(part, features.local, distance=distance).logsumexp(dim=1) for part in parts]
    shares = gather_over_ranks(torch.cat(mass)).softmax(dim=0)
    until = shares.cumsum(dim=0)
    rank = (uniform >= until[:-1]).sum(dim=0)
    before = F.pad(until, (0, 0, 1, 0)).gather(0, rank[None])[0]
    within = (uniform - before) / shares.gather(0, rank[None])[0]
    drawn = []
    for part, level in zip(parts, within.split([len(part) for part in parts]), strict=True):
        cumulative = similarity(part, features.local, distance=distance).softmax(dim=1).cumsum(dim=1)
        drawn.append(torch.searchsorted(cumulative, level[:, None]).squeeze(1))
    local = torch.cat(drawn).clamp(max=len(features.local) - 1)  # rounding may end the sum short of 1
    return sum_over_ranks(torch.where(rank == features.rank, local + features.first, 0))
