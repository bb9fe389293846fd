"""Nearest neighbours among many vectors, in bounded memory."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Distance = Literal["cosine", "euclidean"]

CHUNK = 2**24  # similarities held at a time: 64 MiB in float32


def similarity(
    queries: Float[Tensor, "q d"], keys: Float[Tensor, "k d"], *, distance: Distance
) -> Float[Tensor, "q k"]:
    """How near each key is to each query, larger = nearer; to be compared along a row only.

    Euclidean is 2 q k - |k|^2, the negative squared distance without |q|^2: the same for all keys of a row,
    and so large beside a young codebook's tiny entries that it would swallow their differences.
    """
    if distance == "cosine":
        return F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T
    return torch.addmm(-keys.square().sum(dim=1), queries, keys.T, alpha=2)


def chunks(queries: Float[Tensor, "q d"], keys: Float[Tensor, "k d"]) -> tuple[Float[Tensor, "_ d"], ...]:
    """The queries in parts whose similarities to all keys fit in CHUNK numbers."""
    return queries.split(max(1, CHUNK // len(keys)))


@torch.no_grad()
def nearest(
    queries: Float[Tensor, "q d"], keys: Float[Tensor, "k d"], *, distance: Distance
) -> Int[Tensor, " q"]:
    """Index of the key nearest to each query."""
    parts = chunks(queries, keys)
    return torch.cat([similarity(part, keys, distance=distance).argmax(dim=1) for part in parts])
