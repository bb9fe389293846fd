"""Blocks of HunyuanVideo's transformer; submodules carry the names that public weights have."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn

from components.attention.normed_heads import normed_heads
from components.backbones.decoder_layers import RMSNorm

EPS = 1e-6
Mask = Bool[Tensor, "b 1 #s s"] | None  # keys that are seen, by all or by each token; None: all


class Levels(NamedTuple):
    """Embeddings of the noise levels that occur in a sample, and which of them a video token has.

    The condition stream has the first. which None: so has every video token.
    """

    embedding: Float[Tensor, "b k d"]
    which: Int[Tensor, " n"] | None

    def of_condition(self) -> "Levels":
        return Levels(self.embedding, None)

    def of_both(self, length: int) -> "Levels":
        """Of the video tokens followed by `length` tokens of the condition stream."""
        if self.which is None:
            return self
        return Levels(self.embedding, torch.cat([self.which, self.which.new_zeros(length)]))

    def of_last(self, length: int) -> "Levels":
        return Levels(self.embedding, None if self.which is None else self.which[-length:])


class Modulation(nn.Module):
    """Shifts, scales and gates from noise levels: `parts` vectors "b 1 d", or "b n d" where tokens differ."""

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(dim, parts * dim)

    def forward(self, levels: Levels) -> tuple[Tensor, ...]:
        if levels.which is None:
            return self.linear(levels.embedding[:, :1]).chunk(self.parts, dim=-1)
        return self.linear(levels.embedding)[:, levels.which].chunk(self.parts, dim=-1)


def modulated(x: Float[Tensor, "b n d"], shift: Tensor, scale: Tensor) -> Float[Tensor, "b n d"]:
    """Layer norm without weights, times 1 + scale, plus shift."""
    dim = x.shape[-1:]
    shift, scale = shift.to(x.dtype), scale.to(x.dtype)
    if shift.shape[1] > 1:
        return torch.addcmul(shift, F.layer_norm(x, dim, eps=EPS), 1 + scale)
    normed = [  # scale and shift as the norm's own weights: one pass over a sample's tokens
        F.layer_norm(tokens, dim, 1 + weight[0, 0], bias[0, 0], EPS)
        for tokens, weight, bias in zip(x.split(1), scale.split(1), shift.split(1), strict=True)
    ]
    return torch.cat(normed) if len(normed) > 1 else normed[0]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Float[Tensor, "b s f"]:
    """Attention of q, k and v, each "b s h d", fastest where every head lies together in memory."""
    q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class Projection(nn.Module):
    """A linear layer that public weights keep one level down, as `proj`."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, out_dim)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n f"]:
        return self.proj(x)


class FeedForward(nn.Module):
    """Linear, activation, Linear."""

    def __init__(self, dim: int, hidden_dim: int, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.net = nn.ModuleList([Projection(dim, hidden_dim), nn.Identity(), nn.Linear(hidden_dim, dim)])

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.net[2](self.activation(self.net[0](x)))


class VideoAttention(nn.Module):
    """Attention of one row of tokens, the first of which are the video's and rotate. No output projection."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim // num_heads, EPS)
        self.norm_k = RMSNorm(dim // num_heads, EPS)

    def forward(
        self, x: Float[Tensor, "b s d"], turns: Complex[Tensor, "b2 n 1 p"], mask: Mask
    ) -> Float[Tensor, "b s d"]:
        q = normed_heads([(self.to_q(x), self.norm_q.weight)], turns, EPS)
        k = normed_heads([(self.to_k(x), self.norm_k.weight)], turns, EPS)
        return attend(q, k, self.to_v(x).view_as(q), mask)


class JointAttention(nn.Module):
    """Attention of video and condition tokens to each other, through projections of their own."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.add_q_proj = nn.Linear(dim, dim)
        self.add_k_proj = nn.Linear(dim, dim)
        self.add_v_proj = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim // num_heads, EPS)
        self.norm_k = RMSNorm(dim // num_heads, EPS)
        self.norm_added_q = RMSNorm(dim // num_heads, EPS)
        self.norm_added_k = RMSNorm(dim // num_heads, EPS)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.to_add_out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        condition: Float[Tensor, "b m d"],
        turns: Complex[Tensor, "b2 n 1 p"],
        mask: Mask,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
        queries = [
            (self.to_q(x), self.norm_q.weight),
            (self.add_q_proj(condition), self.norm_added_q.weight),
        ]
        keys = [(self.to_k(x), self.norm_k.weight), (self.add_k_proj(condition), self.norm_added_k.weight)]
        q, k = normed_heads(queries, turns, EPS), normed_heads(keys, turns, EPS)
        v = torch.cat([self.to_v(x), self.add_v_proj(condition)], dim=1).view_as(q)
        seen = attend(q, k, v, mask)
        return self.to_out[0](seen[:, : x.shape[1]]), self.to_add_out(seen[:, x.shape[1] :])


class DualBlock(nn.Module):
    """Joint attention and a feed-forward a stream; every stream has weights of its own."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = Modulation(dim, 6)
        self.norm1_context = Modulation(dim, 6)
        self.attn = JointAttention(dim, num_heads)
        self.ff = FeedForward(dim, hidden_dim, nn.GELU(approximate="tanh"))
        self.ff_context = FeedForward(dim, hidden_dim, nn.GELU(approximate="tanh"))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        condition: Float[Tensor, "b m d"],
        levels: Levels,
        turns: Complex[Tensor, "b2 n 1 p"],
        mask: Mask,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
        shift, scale, gate, shift_2, scale_2, gate_2 = self.norm1(levels)
        c_shift, c_scale, c_gate, c_shift_2, c_scale_2, c_gate_2 = self.norm1_context(levels.of_condition())
        new, c_new = self.attn(
            modulated(x, shift, scale), modulated(condition, c_shift, c_scale), turns, mask
        )
        x = torch.addcmul(x, gate, new)
        condition = torch.addcmul(condition, c_gate, c_new)
        x = torch.addcmul(x, gate_2, self.ff(modulated(x, shift_2, scale_2)))
        new = self.ff_context(modulated(condition, c_shift_2, c_scale_2))
        return x, torch.addcmul(condition, c_gate_2, new)


class SingleBlock(nn.Module):
    """Attention and feed-forward side by side, one row of video and condition tokens."""

    def __init__(self, dim: int, num_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = Modulation(dim, 3)
        self.attn = VideoAttention(dim, num_heads)
        self.proj_mlp = nn.Linear(dim, hidden_dim)
        self.proj_out = nn.Linear(dim + hidden_dim, dim)

    def forward(
        self, x: Float[Tensor, "b s d"], levels: Levels, turns: Complex[Tensor, "b2 n 1 p"], mask: Mask
    ) -> Float[Tensor, "b s d"]:
        shift, scale, gate = self.norm(levels)
        normed = modulated(x, shift, scale)
        inner = F.gelu(self.proj_mlp(normed), approximate="tanh")
        return torch.addcmul(
            x, gate, self.proj_out(torch.cat([self.attn(normed, turns, mask), inner], dim=-1))
        )
