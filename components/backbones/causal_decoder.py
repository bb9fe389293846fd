"""The causal decoder of LLaMA, for rows of one or many segments, in training and with a cache."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from components.attention import Attend, Attention
from components.attention.cache import KVCache
from components.attention.causal import causal_attention
from components.attention.rope import Rope, Rotation, rotated_heads
from components.backbones.decoder_layers import RMSNorm, swiglu


class CausalDecoder(nn.Module):
    """Token features -> features after the final norm, each from itself and the tokens before it.

    dim, hidden_dim: width, inner width of the SwiGLU.  num_kv_heads: fewer than num_heads groups the queries.
    attention_bias, output_bias: of the q, k, v projection and of the attention's output projection.
    feed_forward_chunk: tokens that pass the feed-forward at once, recomputed in the backward pass; None: all.
    checkpoint: recompute each layer in the backward pass.  attention: what plans the attention of a pass.
    First weights N(0, 0.02). Raises ValueError for sizes that do not divide.
    Source: LLaMA-2 as in LWM's llama.py (arXiv 2402.08268); blockwise feed-forward of arXiv 2305.19370.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        hidden_dim: int,
        rope: Rope,
        norm_eps: float = 1e-6,
        attention_bias: bool = False,
        output_bias: bool = False,
        feed_forward_chunk: int | None = None,
        checkpoint: bool = False,
        attention: Attention = causal_attention,
    ) -> None:
        super().__init__()
        groups = num_heads if num_kv_heads is None else num_kv_heads
        if dim % num_heads or (dim // num_heads) % 2 or num_heads % groups:
            raise ValueError(
                f"dim {dim} must be num_heads {num_heads} heads of an even size, in {groups} equal groups"
            )
        self.dim = dim
        self.num_layers = num_layers
        self.num_kv_heads = groups
        self.head_dim = dim // num_heads
        self.rope = rope
        self.checkpoint = checkpoint
        self.attention = attention
        self.layers = nn.ModuleList(
            DecoderLayer(
                attention_norm=RMSNorm(dim, norm_eps),
                attention=SelfAttention(dim, num_heads, groups, rope, attention_bias, output_bias),
                feed_forward_norm=RMSNorm(dim, norm_eps),
                feed_forward=FeedForward(dim, hidden_dim, feed_forward_chunk),
            )
            for _ in range(num_layers)
        )
        self.norm = RMSNorm(dim, norm_eps)
        self.apply(_first_weights)

    def forward(
        self,
        x: Float[Tensor, "b s d"],
        *,
        positions: Int[Tensor, "b s"] | None = None,
        segments: Int[Tensor, "b s"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "b s d"]:
        """Run every layer; with a cache the s tokens are appended to it.

        segments: attention stays within equal ids, -1 is padding.  positions: slots of the row, or what the
        cache counts. Raises ValueError for segments with a cache, which holds one segment a row.
        """
        if cache is None:
            attend = self.attention(segments=segments, positions=positions)
            plans = [attend] * self.num_layers
            slots = torch.arange(x.shape[1], device=x.device)[None] if positions is None else positions
        elif segments is not None:
            raise ValueError("a cache holds one segment a row: give its start for padded rows, not segments")
        else:
            slots = cache.positions(x.shape[1]) if positions is None else positions
            plans = cache.plan(x.shape[1])
        rotation = self.rope.rotation(slots, self.head_dim, x.dtype)
        for layer, plan in zip(self.layers, plans, strict=True):
            if self.checkpoint and torch.is_grad_enabled():
                x = recomputed(layer, x, rotation, plan, use_reentrant=False)
            else:
                x = layer(x, rotation, plan)
        return self.norm(x)

    def new_cache(
        self, batch_size: int, length: int, *, dtype: torch.dtype, device: torch.device | str
    ) -> KVCache:
        """An empty cache for rows of up to `length` tokens."""
        return KVCache(
            num_layers=self.num_layers,
            batch_size=batch_size,
            num_kv_heads=self.num_kv_heads,
            capacity=length,
            head_dim=self.head_dim,
            dtype=dtype,
            device=device,
        )


class DecoderLayer(nn.Module):
    """Attention, then feed-forward, each on normed features and added to what came in."""

    def __init__(
        self,
        *,
        attention_norm: nn.Module,
        attention: nn.Module,
        feed_forward_norm: nn.Module,
        feed_forward: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward

    def forward(
        self, x: Float[Tensor, "b s d"], rotation: Rotation, attend: Attend
    ) -> Float[Tensor, "b s d"]:
        x = x + self.attention(self.attention_norm(x), rotation, attend)
        return x + self.feed_forward(self.feed_forward_norm(x))


class SelfAttention(nn.Module):
    """One projection to the heads of q, k and v, rotary positions, attention, one projection back."""

    def __init__(
        self, dim: int, num_heads: int, num_kv_heads: int, rope: Rope, attention_bias: bool, output_bias: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.rope = rope
        self.qkv = nn.Linear(dim, dim // num_heads * (num_heads + 2 * num_kv_heads), bias=attention_bias)
        self.output = nn.Linear(dim, dim, bias=output_bias)

    def forward(
        self, x: Float[Tensor, "b s d"], rotation: Rotation, attend: Attend
    ) -> Float[Tensor, "b s d"]:
        q, k, v = rotated_heads(self.qkv(x), rotation, self.rope, self.num_heads, self.num_kv_heads)
        return self.output(attend(q, k, v).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate) * up); a chunk of tokens at a time where chunk is given."""

    def __init__(self, dim: int, hidden_dim: int, chunk: int | None) -> None:
        super().__init__()
        self.chunk = chunk
        self.gate_up = nn.Linear(dim, 2 * hidden_dim, bias=False)
        self.down = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        if self.chunk is None or not torch.is_grad_enabled():
            return self._swiglu(x)
        tokens = x.flatten(0, 1)
        out = [recomputed(self._swiglu, part, use_reentrant=False) for part in tokens.split(self.chunk)]
        return torch.cat(out).view_as(x)

    def _swiglu(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return self.down(swiglu(self.gate_up(x)))


def _first_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
