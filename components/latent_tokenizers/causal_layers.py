"""Layers of a video autoencoder that never looks ahead; frames lie channels last, (b, t, h, w, c).

A convolution over space and time is one over every frame, then one over time: 12 taps instead of 27, and on
CPU about half the time of conv3d, forward and backward. Norms are over the channels of one pixel, so that
neither the other frames nor the size of the picture enter them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TIME_KERNEL = 3

Past = dict[nn.Module, Tensor]
"""The last frames that each layer saw of the parts before this one; empty where the video begins."""


class FrameConv(nn.Module):
    """A 3x3 convolution of every frame, zeros around it."""

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w o"]:
        return self.conv(x.flatten(0, 1).movedim(-1, 1)).movedim(1, -1).unflatten(0, x.shape[:2])


class CausalConv(nn.Module):
    """A pixel's features from its own in this frame and the two before; the first frame has stood before.

    Computed as a 2-d convolution over (time, pixels), for which channels-last memory needs no copy.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (TIME_KERNEL, 1))

    def forward(self, x: Float[Tensor, "b t h w c"], past: Past | None) -> Float[Tensor, "b t h w c"]:
        before = None if past is None else past.get(self)
        if before is None:
            before = x[:, :1].expand(-1, TIME_KERNEL - 1, -1, -1, -1)
        x = torch.cat([before, x], dim=1)
        if past is not None:
            past[self] = x[:, 1 - TIME_KERNEL :].clone()  # a view would keep the whole part in memory
        out = self.conv(x.flatten(2, 3).movedim(-1, 1))
        return out.movedim(1, -1).unflatten(2, x.shape[2:4])


class ResidualBlock(nn.Module):
    """x + conv over time(silu(norm(conv over space(silu(norm(x)))))); x itself at first."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.space_norm = nn.LayerNorm(channels)
        self.space = FrameConv(in_channels=channels, out_channels=channels)
        self.time_norm = nn.LayerNorm(channels)
        self.time = CausalConv(channels=channels)
        for parameter in self.time.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b t h w c"], past: Past | None) -> Float[Tensor, "b t h w c"]:
        y = self.space(F.silu(self.space_norm(x)))
        return x + self.time(F.silu(self.time_norm(y)), past)


class Level(nn.Module):
    """Residual blocks of one width, one after another."""

    def __init__(self, *, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels=channels) for _ in range(blocks))

    def forward(self, x: Float[Tensor, "b t h w c"], past: Past | None) -> Float[Tensor, "b t h w c"]:
        for block in self.blocks:
            x = block(x, past)
        return x


class Merge(nn.Module):
    """`time` frames' `space` x `space` pixels become one: a linear map of them, beside means of channels.

    Raises ValueError for widths that leave no whole number of channels to a mean.
    Source: the shortcuts of DC-AE (arXiv 2410.10733), section 3.2, here over time as well.
    """

    def __init__(self, *, in_channels: int, out_channels: int, time: int, space: int) -> None:
        super().__init__()
        self.factors, joined = (time, space), in_channels * time * space**2
        if joined % out_channels:
            told = f"{time}x{space}x{space} pixels of {in_channels} channels"
            raise ValueError(f"{told} cannot be shared out among {out_channels} channels")
        self.linear = nn.Linear(joined, out_channels)

    def forward(self, x: Float[Tensor, "b t h w c"], begins: bool) -> Float[Tensor, "b l i j o"]:
        x = merged(x, *self.factors, begins)
        return self.linear(x) + x.unflatten(-1, (self.linear.out_features, -1)).mean(-1)


class Split(nn.Module):
    """Merge's mirror image: a linear map to `time` frames of `space` x `space` pixels, beside copies.

    Raises ValueError for widths that leave no whole number of copies.
    """

    def __init__(self, *, in_channels: int, out_channels: int, time: int, space: int) -> None:
        super().__init__()
        self.factors, joined = (time, space), out_channels * time * space**2
        if joined % in_channels:
            told = f"{time}x{space}x{space} pixels of {out_channels} channels"
            raise ValueError(f"{in_channels} channels cannot be shared out among {told}")
        self.copies = joined // in_channels
        self.linear = nn.Linear(in_channels, joined)

    def forward(self, x: Float[Tensor, "b l i j c"], begins: bool) -> Float[Tensor, "b t h w o"]:
        return split(self.linear(x) + x.repeat_interleave(self.copies, dim=-1), *self.factors, begins)


def merged(
    x: Float[Tensor, "b t h w c"], time: int, space: int, begins: bool
) -> Float[Tensor, "b l i j joined"]:
    """Groups of time x space x space pixels as one, their channels side by side.

    A video's first frame makes a group by itself, repeated: 1 + k time frames become 1 + k.
    """
    if begins and time > 1:
        x = torch.cat([x[:, :1].expand(-1, time - 1, -1, -1, -1), x], dim=1)
    grid = x.unflatten(3, (-1, space)).unflatten(2, (-1, space)).unflatten(1, (-1, time))
    return grid.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)  # b l i j, then time, rows, columns, c


def split(
    x: Float[Tensor, "b l i j joined"], time: int, space: int, begins: bool
) -> Float[Tensor, "b t h w c"]:
    """What `merged` merged; where the video begins, without the frames that were repeated."""
    grid = x.unflatten(4, (time, space, space, -1)).permute(0, 1, 4, 2, 5, 3, 6, 7)
    frames = grid.flatten(5, 6).flatten(3, 4).flatten(1, 2)
    return frames[:, time - 1 :] if begins else frames
