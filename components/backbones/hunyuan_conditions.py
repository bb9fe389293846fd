"""What conditions HunyuanVideo's transformer: noise level, guidance scale, text, start image."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from components.backbones.hunyuan_layers import EPS, FeedForward, Levels, Mask, Modulation, attend

WAVES = 256  # sines and cosines of a noise level


class Embedder(nn.Module):
    """Linear, SiLU, Linear."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "*b e"]) -> Float[Tensor, "*b d"]:
        return self.linear_2(F.silu(self.linear_1(x.to(self.linear_1.weight.dtype))))


def waves(steps: Float[Tensor, "*b"]) -> Float[Tensor, "*b w"]:
    """Cosines, then sines, of levels on the scale of 1000 steps; periods from 2 pi to 10,000 times that."""
    half = WAVES // 2
    frequencies = torch.exp(torch.arange(half, device=steps.device) * (-math.log(10_000) / half))
    angles = steps.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class LevelEmbedding(nn.Module):
    """Noise levels, guidance scale and pooled text in one vector a level; what is not there adds nothing."""

    def __init__(self, dim: int, pooled_dim: int, guidance: bool) -> None:
        super().__init__()
        self.timestep_embedder = Embedder(WAVES, dim)
        self.guidance_embedder = Embedder(WAVES, dim) if guidance else None
        self.text_embedder = Embedder(pooled_dim, dim) if pooled_dim else None

    def forward(
        self,
        steps: Float[Tensor, "b k"],
        pooled: Float[Tensor, "b p"] | None,
        guidance: Float[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        embedding = self.timestep_embedder(waves(steps))
        if self.guidance_embedder is not None and guidance is not None:
            embedding = embedding + self.guidance_embedder(waves(1000 * guidance))[:, None]
        if self.text_embedder is not None and pooled is not None:
            embedding = embedding + self.text_embedder(pooled)[:, None]
        return embedding


class RefinerAttention(nn.Module):
    """Self-attention of text tokens."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: Float[Tensor, "b n d"], mask: Mask) -> Float[Tensor, "b n d"]:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)) for layer in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out[0](attend(q, k, v, mask))


class RefinerBlock(nn.Module):
    """Attention and feed-forward, each gated by noise level and text."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = RefinerAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.ff = FeedForward(dim, hidden_dim, nn.SiLU())
        self.norm_out = Modulation(dim, 2)

    def forward(self, x: Float[Tensor, "b n d"], levels: Levels, mask: Mask) -> Float[Tensor, "b n d"]:
        gate, gate_2 = self.norm_out(levels)
        x = torch.addcmul(x, gate, self.attn(self.norm1(x), mask))
        return torch.addcmul(x, gate_2, self.ff(self.norm2(x)))


class RefinerBlocks(nn.Module):
    """Text tokens attend to each other."""

    def __init__(self, dim: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.refiner_blocks = nn.ModuleList(RefinerBlock(dim, num_heads, 4 * dim) for _ in range(num_layers))

    def forward(self, x: Float[Tensor, "b n d"], levels: Levels, mask: Mask) -> Float[Tensor, "b n d"]:
        for block in self.refiner_blocks:
            x = block(x, levels, mask)
        return x


class TextRefiner(nn.Module):
    """Text features -> tokens of the condition stream, before they meet the video.

    A sample without any real token sees its first one, so that no softmax is empty.
    """

    def __init__(self, text_dim: int, dim: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.time_text_embed = LevelEmbedding(dim, text_dim, guidance=False)
        self.proj_in = nn.Linear(text_dim, dim)
        self.token_refiner = RefinerBlocks(dim, num_heads, num_layers)

    def forward(
        self, tokens: Float[Tensor, "b n e"], steps: Float[Tensor, "b 1"], mask: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, "b n d"]:
        """mask None: all tokens are real."""
        if mask is None:
            mean, seen = tokens.mean(dim=1), None
        else:
            weights = mask.to(tokens.dtype)[..., None]
            mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
            first = torch.arange(mask.shape[1], device=mask.device) == 0
            seen = (mask | (~mask.any(dim=1, keepdim=True) & first))[:, None, None]
        levels = Levels(F.silu(self.time_text_embed(steps, mean)), None)
        return self.token_refiner(self.proj_in(tokens), levels, seen)


class ImageProjection(nn.Module):
    """Features of the start image -> tokens of the condition stream."""

    def __init__(self, image_dim: int, dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(image_dim, 3 * dim)
        self.down = nn.Linear(3 * dim, dim)

    def forward(self, image: Float[Tensor, "b m e"]) -> Float[Tensor, "b m d"]:
        return self.down(F.silu(self.up(image)))
