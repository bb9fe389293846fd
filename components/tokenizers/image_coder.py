"""Encoder and decoder of one image, in the manner of VQGAN."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.tokenizers.layers import Downsample, ResidualBlock, SpatialAttention, Upsample, group_norm


class Level(nn.Module):
    """Residual blocks of one width, each with attention after it if wished, then a change of size if any."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        blocks: int,
        attention: bool,
        norm_groups: int,
        resize: nn.Module | None,
    ) -> None:
        super().__init__()
        widths = pairwise([in_channels, *[out_channels] * blocks])
        self.blocks = nn.ModuleList(
            ResidualBlock(in_channels=i, out_channels=o, norm_groups=norm_groups) for i, o in widths
        )
        self.attentions = nn.ModuleList(
            SpatialAttention(channels=out_channels, norm_groups=norm_groups) if attention else nn.Identity()
            for _ in range(blocks)
        )
        self.resize = resize if resize is not None else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h2 w2"]:
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x))
        return self.resize(x)


def middle(channels: int, norm_groups: int, attention: bool) -> nn.Sequential:
    """Two residual blocks at the smallest size, attention between them if wished."""
    first, second = (
        ResidualBlock(in_channels=channels, out_channels=channels, norm_groups=norm_groups) for _ in range(2)
    )
    between = SpatialAttention(channels=channels, norm_groups=norm_groups) if attention else nn.Identity()
    return nn.Sequential(first, between, second)


class ImageEncoder(nn.Module):
    """(n, 3, h, w) -> (n, latent_channels, i, j), with h = i * patch * 2^(levels-1) and w alike.

    patch: pixels of a side that enter as one.
    widths: channels of each level, full size first. attention_levels: their numbers, 0 = full size.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: int,
        latent_channels: int,
        norm_groups: int,
        attention_levels: Sequence[int],
        middle_attention: bool,
        patch: int = 1,
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.patch = patch
        self.input = nn.Conv2d(3 * patch**2, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            Level(
                in_channels=before,
                out_channels=width,
                blocks=blocks,
                attention=i in attention_levels,
                norm_groups=norm_groups,
                resize=Downsample(channels=width) if i < last else None,
            )
            for i, (before, width) in enumerate(pairwise([widths[0], *widths]))
        )
        self.middle = middle(widths[-1], norm_groups, middle_attention)
        self.norm = group_norm(widths[-1], norm_groups)
        self.output = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n latent i j"]:
        x = self.input(F.pixel_unshuffle(image, self.patch))
        for level in self.levels:
            x = level(x)
        return self.output(F.silu(self.norm(self.middle(x))))


class ImageDecoder(nn.Module):
    """(n, latent_channels, i, j) -> (n, 3, h, w): the encoder's mirror image.

    widths, attention_levels: as the encoder's, full size first; `levels` holds them smallest size first.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: int,
        latent_channels: int,
        norm_groups: int,
        attention_levels: Sequence[int],
        middle_attention: bool,
        patch: int = 1,
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.patch = patch
        self.input = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.middle = middle(widths[-1], norm_groups, middle_attention)
        self.levels = nn.ModuleList(
            Level(
                in_channels=widths[min(i + 1, last)],
                out_channels=widths[i],
                blocks=blocks,
                attention=i in attention_levels,
                norm_groups=norm_groups,
                resize=Upsample(channels=widths[i]) if i > 0 else None,
            )
            for i in range(last, -1, -1)
        )
        self.norm = group_norm(widths[0], norm_groups)
        self.output = nn.Conv2d(widths[0], 3 * patch**2, 3, padding=1)

    def forward(self, latents: Float[Tensor, "n latent i j"]) -> Float[Tensor, "n 3 h w"]:
        x = self.middle(self.input(latents))
        for level in self.levels:
            x = level(x)
        return F.pixel_shuffle(self.output(F.silu(self.norm(x))), self.patch)
