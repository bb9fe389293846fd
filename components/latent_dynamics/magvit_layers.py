"""Layers of VideoWorld's released latent dynamics model; time is the third axis, (b, c, t, h, w)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.tokenizers.layers import NORM_EPSILON

ADAPTIVE_EPSILON = 1e-5


class CausalConv3d(nn.Module):
    """A cubic convolution of a frame and those before it; zeros before the first and around the picture."""

    def __init__(self, *, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.before, side = kernel - 1, kernel // 2
        self.conv = nn.Conv3d(
            in_channels, out_channels, kernel, stride=(1, stride, stride), padding=(0, side, side)
        )

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b o t h2 w2"]:
        return self.conv(F.pad(x, (0, 0, 0, 0, self.before, 0)))


class FrameNorm(nn.Module):
    """Group norm of every frame by itself; a frame's scale and shift are those of its number in the clip.

    Raises ValueError for channels that the groups do not divide.
    """

    def __init__(self, *, frames: int, channels: int, groups: int) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{groups} norm groups of a frame do not divide {channels} channels")
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(frames, channels))
        self.bias = nn.Parameter(torch.zeros(frames, channels))

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        t = x.shape[2]
        weight, bias = self.weight[:t].flatten(), self.bias[:t].flatten()
        rows = F.group_norm(x.transpose(1, 2).flatten(1, 2), self.groups * t, weight, bias, NORM_EPSILON)
        return rows.unflatten(1, (t, -1)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), 3x3x3; a 1x1x1 convolution of x where the widths differ.

    norm: makes the norm of a number of channels.
    """

    def __init__(self, *, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = CausalConv3d(in_channels=in_channels, out_channels=out_channels, kernel=3)
        self.norm2 = norm(out_channels)
        self.conv2 = CausalConv3d(in_channels=out_channels, out_channels=out_channels, kernel=3)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = CausalConv3d(in_channels=in_channels, out_channels=out_channels, kernel=1)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b o t h w"]:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


def residual_blocks(
    in_channels: int, out_channels: int, count: int, norm: Callable[[int], nn.Module]
) -> nn.Sequential:
    """One after another; the first changes the width."""
    widths = [in_channels, *[out_channels] * (count - 1)]
    return nn.Sequential(
        *(ResidualBlock(in_channels=width, out_channels=out_channels, norm=norm) for width in widths)
    )


class Upsample(nn.Module):
    """A 3x3x3 convolution to four times the channels, SiLU, and each four of them laid out as 2x2 pixels.

    At first all four are alike.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(in_channels=channels, out_channels=4 * channels, kernel=3)
        weight = torch.empty_like(self.conv.conv.weight[:channels])
        nn.init.kaiming_uniform_(weight)
        with torch.no_grad():
            self.conv.conv.weight.copy_(weight.repeat_interleave(4, dim=0))
        assert self.conv.conv.bias is not None
        nn.init.zeros_(self.conv.conv.bias)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h2 w2"]:
        frames = F.silu(self.conv(x)).transpose(1, 2)
        return F.pixel_shuffle(frames, 2).transpose(1, 2)


class AdaptiveNorm(nn.Module):
    """Group norm over a whole video, whose scale and shift are linear in a condition."""

    def __init__(self, *, channels: int, condition_dim: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.linear = nn.Linear(condition_dim, 2 * channels)

    def forward(
        self, x: Float[Tensor, "b c t h w"], condition: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b c t h w"]:
        scale, shift = self.linear(condition)[:, :, None, None, None].chunk(2, dim=1)
        return F.group_norm(x, self.groups, eps=ADAPTIVE_EPSILON) * (1 + scale) + shift


class FourierPositions(nn.Module):
    """Sines and cosines of a pixel's place at frequencies that are drawn once and kept with the weights.

    Source: random Fourier features as in Segment Anything (arXiv 2304.02643).
    """

    frequencies: Tensor

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, dim // 2))

    def forward(self, height: int, width: int) -> Float[Tensor, "n d"]:
        """Of a grid, row by row."""
        rows, columns = ((torch.arange(size).to(self.frequencies) + 0.5) / size for size in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        places = torch.stack([x, y], dim=-1).flatten(0, 1)
        phases = 2 * math.pi * (2 * places - 1) @ self.frequencies
        return torch.cat([phases.sin(), phases.cos()], dim=-1)


class CrossAttention(nn.Module):
    """A query looks at features; inside, at half the width."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, dim // 2
        self.q, self.k, self.v = (nn.Linear(dim, inner) for _ in range(3))
        self.output = nn.Linear(inner, dim)

    def forward(
        self, q: Float[Tensor, "b m d"], k: Float[Tensor, "b n d"], v: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b m d"]:
        parts = (layer(x) for layer, x in ((self.q, q), (self.k, k), (self.v, v)))
        split = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts]
        return self.output(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


class QueryLayer(nn.Module):
    """The query plus what it finds, normed; plus a two-layer network of it, normed."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = CrossAttention(dim=dim, heads=heads)
        self.attention_norm = nn.LayerNorm(dim)
        self.hidden, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.output_norm = nn.LayerNorm(dim)

    def forward(
        self, q: Float[Tensor, "b m d"], k: Float[Tensor, "b n d"], v: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b m d"]:
        q = self.attention_norm(q + self.attention(q, k, v))
        return self.output_norm(q + self.output(F.relu(self.hidden(q))))


class QueryFormer(nn.Module):
    """A learned query reads the features of some frames, layer by layer, and once more at the end."""

    def __init__(self, *, dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(QueryLayer(dim=dim, heads=heads) for _ in range(layers))
        self.attention = CrossAttention(dim=dim, heads=heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        query: Float[Tensor, "b 1 d"],
        features: Float[Tensor, "b n d"],
        positions: Float[Tensor, "n d"],
    ) -> Float[Tensor, "b 1 d"]:
        keys = features + positions
        for layer in self.layers:
            query = layer(query, keys, features)
        return self.norm(query + self.attention(2 * query, keys, features))  # doubled in the released code
