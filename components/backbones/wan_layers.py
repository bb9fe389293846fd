"""Blocks of Wan's transformer and what conditions it; submodules carry the names that public weights have."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn

from components.backbones.decoder_layers import RMSNorm
from components.backbones.hunyuan_conditions import WAVES, Embedder, waves
from components.backbones.hunyuan_layers import EPS, FeedForward, Projection

Mask = Bool[Tensor, "b 1 1 m"] | None  # text tokens that are seen; None: all


class Levels(NamedTuple):
    """Noise levels that occur in a sample, and which of them a token has; of_token None: all the first."""

    embedding: Float[Tensor, "b k d"]
    projection: Float[Tensor, "b k 6 d"]  # shifts, scales and gates that the blocks add their own to
    of_token: Int[Tensor, " n"] | None


def modulation(
    table: Float[Tensor, "1 p d"], levels: Float[Tensor, "b k q d"], of_token: Int[Tensor, " n"] | None
) -> tuple[Tensor, ...]:
    """The table's rows plus what a level adds to them: p vectors "b 1 d", or "b n d" where tokens differ.

    In float32 or better. A level has a vector for each row (q = p), or one for all (q = 1).
    """
    parts = table.to(torch.promote_types(table.dtype, torch.float32)) + levels
    return (parts if of_token is None else parts.index_select(1, of_token)).unbind(dim=2)


def modulated(x: Float[Tensor, "b n d"], shift: Tensor, scale: Tensor) -> Float[Tensor, "b n d"]:
    """Layer norm without weights, times 1 + scale, plus shift; in the precision of these, rounded once."""
    wide, dim = x.to(shift.dtype), x.shape[-1:]
    if shift.shape[1] > 1:
        return torch.addcmul(shift, F.layer_norm(wide, dim, eps=EPS), 1 + scale).to(x.dtype)
    normed = [  # scale and shift as the norm's own weights: one pass over a sample's tokens
        F.layer_norm(tokens, dim, 1 + weight[0, 0], bias[0, 0], EPS)
        for tokens, weight, bias in zip(wide.split(1), scale.split(1), shift.split(1), strict=True)
    ]
    return (torch.cat(normed) if len(normed) > 1 else normed[0]).to(x.dtype)


def gated(x: Float[Tensor, "b n d"], new: Float[Tensor, "b n d"], gate: Tensor) -> Float[Tensor, "b n d"]:
    """x + gate * new, rounded once."""
    return torch.addcmul(x.to(gate.dtype), new.to(gate.dtype), gate).to(x.dtype)


def normed(x: Float[Tensor, "b n d"], norm: RMSNorm) -> Float[Tensor, "b n d"]:
    """The norm of x, in the wider precision of x and the norm's weight."""
    return norm(x.to(torch.promote_types(x.dtype, norm.weight.dtype)))


def turned_heads(
    x: Float[Tensor, "b n f"], norm: RMSNorm, turns: Complex[Tensor, "b2 n 1 p"]
) -> Float[Tensor, "b n h d"]:
    """Heads of 2 p features each, normed over all of them, whose neighbours are rotated in pairs."""
    exact = torch.promote_types(x.dtype, torch.float32)
    heads = normed(x, norm).to(exact).unflatten(-1, (-1, turns.shape[-1], 2))
    return torch.view_as_real(torch.view_as_complex(heads) * turns).flatten(-2).to(x.dtype)


def attend(
    q: Float[Tensor, "b n h d"], k: Float[Tensor, "b m h d"], v: Float[Tensor, "b m h d"], mask: Mask
) -> Float[Tensor, "b n f"]:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention of video tokens to each other; queries and keys are normed over all heads at once."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = RMSNorm(dim, EPS)
        self.norm_k = RMSNorm(dim, EPS)

    def forward(
        self, x: Float[Tensor, "b n d"], turns: Complex[Tensor, "b2 n 1 p"]
    ) -> Float[Tensor, "b n d"]:
        q = turned_heads(self.to_q(x), self.norm_q, turns)
        k = turned_heads(self.to_k(x), self.norm_k, turns)
        return self.to_out[0](attend(q, k, self.to_v(x).view_as(q), None))


class CrossAttention(nn.Module):
    """Attention of video tokens to text, and apart from it to image tokens: the two results are added."""

    def __init__(self, dim: int, num_heads: int, has_image: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = RMSNorm(dim, EPS)
        self.norm_k = RMSNorm(dim, EPS)
        if has_image:
            self.add_k_proj = nn.Linear(dim, dim)
            self.add_v_proj = nn.Linear(dim, dim)
            self.norm_added_k = RMSNorm(dim, EPS)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        text: Float[Tensor, "b m d"],
        mask: Mask,
        image: Float[Tensor, "b i d"] | None,
    ) -> Float[Tensor, "b n d"]:
        q, v = self._heads(self.to_q(x), self.norm_q), self._heads(self.to_v(text))
        seen = attend(q, self._heads(self.to_k(text), self.norm_k), v, mask)
        if image is not None:
            k, v = self._heads(self.add_k_proj(image), self.norm_added_k), self._heads(self.add_v_proj(image))
            seen = seen + attend(q, k, v, None)
        return self.to_out[0](seen)

    def _heads(self, x: Tensor, norm: RMSNorm | None = None) -> Tensor:
        heads = x if norm is None else normed(x, norm).to(x.dtype)
        return heads.unflatten(-1, (self.num_heads, -1))


class WanBlock(nn.Module):
    """Attention to the video, to text and image, feed-forward; the first and the last shifted and gated."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int, has_image: bool) -> None:
        super().__init__()
        self.attn1 = SelfAttention(dim)
        self.attn2 = CrossAttention(dim, num_heads, has_image)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.ffn = FeedForward(dim, hidden_dim, nn.GELU(approximate="tanh"))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        levels: Levels,
        turns: Complex[Tensor, "b2 n 1 p"],
        text: Float[Tensor, "b m d"],
        mask: Mask,
        image: Float[Tensor, "b i d"] | None,
    ) -> Float[Tensor, "b n d"]:
        shift, scale, gate, shift_2, scale_2, gate_2 = modulation(
            self.scale_shift_table, levels.projection, levels.of_token
        )
        x = gated(x, self.attn1(modulated(x, shift, scale), turns), gate)
        x = x + self.attn2(self.norm2(x), text, mask, image)
        return gated(x, self.ffn(modulated(x, shift_2, scale_2)), gate_2)


class TextProjection(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(text_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b m e"]) -> Float[Tensor, "b m d"]:
        return self.linear_2(F.gelu(self.linear_1(tokens), approximate="tanh"))


class ImageProjection(nn.Module):
    """Features of the start image -> tokens that the blocks attend to."""

    def __init__(self, image_dim: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(image_dim)
        layers = [Projection(image_dim, image_dim), nn.GELU(), nn.Linear(image_dim, dim)]
        self.ff = nn.ModuleDict({"net": nn.Sequential(*layers)})
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, image: Float[Tensor, "b i e"]) -> Float[Tensor, "b i d"]:
        return self.norm2(self.ff["net"](self.norm1(image)))


class ConditionEmbedder(nn.Module):
    """What the blocks are told: noise levels, text and start image."""

    def __init__(self, dim: int, text_dim: int, image_dim: int) -> None:
        super().__init__()
        self.time_embedder = Embedder(WAVES, dim)
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text_embedder = TextProjection(text_dim, dim)
        self.image_embedder = ImageProjection(image_dim, dim) if image_dim else None

    def levels(self, steps: Float[Tensor, "b k"], of_token: Int[Tensor, " n"] | None) -> Levels:
        """steps: noise levels on the scale of 1000."""
        embedding = self.time_embedder(waves(steps))
        projection = self.time_proj(F.silu(embedding)).unflatten(-1, (6, -1))
        wide = torch.promote_types(embedding.dtype, torch.float32)
        return Levels(embedding.to(wide), projection.to(wide), of_token)
