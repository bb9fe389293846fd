"""Rotary positions of video tokens on three axes, for patches of any size."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rope_3d(
    indices: Int[Tensor, "b l"],
    height: int,
    width: int,
    axes_dim: tuple[int, int, int],
    theta: float,
    kernel: int = 1,
    pool: Literal["phasor", "angle"] = "phasor",
) -> tuple[Float[Tensor, "b n f"], Float[Tensor, "b n f"]]:
    """Cosines and sines of every token, one a pair of features: time's pairs, then rows', then columns'.

    indices: true times of the latent frames, which may jump.  height, width: of the grid of base tokens.
    axes_dim: features of a head that turn with time, row, column, f pairs in all.
    kernel: k pools cells of (k, k, k) base tokens; the grid is padded at its far sides by its last tokens.
    pool: the mean of the cell's phasors, shorter than 1; or of its angles, always of length 1.
    In float32, out of float64: n = ceil(l/k) ceil(height/k) ceil(width/k) tokens, columns fastest.
    Source: FramePack (arXiv 2504.12626), RoPE alignment; the mean angle is Lyra 2.0's (arXiv 2604.13036).
    """
    places = [torch.arange(size, device=indices.device)[None] for size in (height, width)]
    axes = [
        _pooled_axis(positions, dim, theta, kernel, pool)
        for positions, dim in zip((indices, *places), axes_dim, strict=True)
    ]
    sizes = [len(indices), *(axis.shape[1] for axis in axes)]
    spread = []
    for i, axis in enumerate(
        axes
    ):  # an axis is the same along the other two: it is pooled before it is spread
        shape = [axis.shape[0], 1, 1, 1, axis.shape[-1]]
        shape[i + 1] = axis.shape[1]
        spread.append(axis.view(shape).expand(*sizes, -1))
    phasors = torch.cat(spread, dim=-1).flatten(1, 3)
    return phasors.real.float(), phasors.imag.float()


def _pooled_axis(
    positions: Int[Tensor, "b n"], dim: int, theta: float, kernel: int, pool: Literal["phasor", "angle"]
) -> Tensor:
    """Complex phasors "b ceil(n/k) dim/2" of one axis."""
    missing = -positions.shape[1] % kernel
    padded = torch.cat([positions, positions[:, -1:].expand(-1, missing)], dim=1)
    frequencies = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim)
    angles = (padded.to(torch.float64)[..., None] * frequencies).unflatten(1, (-1, kernel))
    if pool == "angle":
        angles = angles.mean(dim=2, keepdim=True)
    return torch.polar(torch.ones_like(angles), angles).mean(dim=2)
