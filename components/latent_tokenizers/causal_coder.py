"""Encoder and decoder of a causal video autoencoder, each other's mirror image."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.latent_tokenizers.causal_layers import (
    FrameConv,
    Level,
    Merge,
    Past,
    Split,
    merged,
    split,
)

Halving = Literal["time", "space", "both"]
FACTORS: dict[Halving, tuple[int, int]] = {"time": (2, 1), "space": (1, 2), "both": (2, 2)}


@dataclass(frozen=True)
class Sizes:
    """Of an encoder and its decoder.

    patch: frames, and pixels of a side, that enter as one.
    widths: channels of each level, full size first; halvings: what halves from a level to the next.
    blocks: residual blocks a level, one more in the decoder.
    """

    patch: tuple[int, int]
    widths: tuple[int, ...]
    halvings: tuple[Halving, ...]
    blocks: int

    @property
    def time_factor(self) -> int:
        return self.patch[0] * prod(FACTORS[halving][0] for halving in self.halvings)

    @property
    def space_factor(self) -> int:
        return self.patch[1] * prod(FACTORS[halving][1] for halving in self.halvings)

    @property
    def patch_channels(self) -> int:
        return 3 * self.patch[0] * self.patch[1] ** 2


class CausalEncoder(nn.Module):
    """Frames -> features on the grid of latents."""

    def __init__(self, *, sizes: Sizes, out_channels: int) -> None:
        super().__init__()
        self.patch = sizes.patch
        self.input = FrameConv(in_channels=sizes.patch_channels, out_channels=sizes.widths[0])
        self.levels = nn.ModuleList(Level(channels=width, blocks=sizes.blocks) for width in sizes.widths)
        self.merges = nn.ModuleList(
            Merge(in_channels=i, out_channels=o, time=FACTORS[halving][0], space=FACTORS[halving][1])
            for (i, o), halving in zip(pairwise(sizes.widths), sizes.halvings, strict=True)
        )
        self.output = FrameConv(in_channels=sizes.widths[-1], out_channels=out_channels)

    def forward(self, video: Float[Tensor, "b t h w 3"], past: Past | None) -> Float[Tensor, "b l i j c"]:
        begins = not past  # asked before the layers fill it
        x = self.input(merged(video, *self.patch, begins))
        for i, level in enumerate(self.levels):
            if i > 0:
                x = self.merges[i - 1](x, begins)
            x = level(x, past)
        return self.output(F.silu(x))


class CausalDecoder(nn.Module):
    """Latents -> frames; `levels` are the encoder's, smallest size first."""

    def __init__(self, *, sizes: Sizes, in_channels: int) -> None:
        super().__init__()
        self.patch = sizes.patch
        widths = sizes.widths[::-1]
        self.input = FrameConv(in_channels=in_channels, out_channels=widths[0])
        self.levels = nn.ModuleList(Level(channels=width, blocks=sizes.blocks + 1) for width in widths)
        self.splits = nn.ModuleList(
            Split(in_channels=i, out_channels=o, time=FACTORS[halving][0], space=FACTORS[halving][1])
            for (i, o), halving in zip(pairwise(widths), sizes.halvings[::-1], strict=True)
        )
        self.output = FrameConv(in_channels=widths[-1], out_channels=sizes.patch_channels)

    def forward(self, latents: Float[Tensor, "b l i j c"], past: Past | None) -> Float[Tensor, "b t h w 3"]:
        begins = not past
        x = self.input(latents)
        for i, level in enumerate(self.levels):
            if i > 0:
                x = self.splits[i - 1](x, begins)
            x = level(x, past)
        return split(self.output(F.silu(x)), *self.patch, begins)
