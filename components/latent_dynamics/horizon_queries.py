"""Queries that read from a video's features what each of the next frames changes."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.latent_dynamics.places import Places
from components.latent_tokenizers.causal_layers import CausalConv

QUIET = 1e-4  # energy of a change under which attention does not lean away from it any further
FORGETTING = 2.0  # nats of attention that a change loses, in the beginning, with each frame that it is older


class Reading(nn.Module):
    """One look of every query at the features, then a small network; queries do not see each other."""

    def __init__(self, *, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def forward(
        self, x: Float[Tensor, "b k c"], seen: Float[Tensor, "b n c"], bias: Float[Tensor, "b 1 k n"]
    ) -> Float[Tensor, "b k c"]:
        q = self._heads(self.query(self.query_norm(x)))
        k, v = (self._heads(part) for part in self.key_value(seen).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.output(read.transpose(1, 2).flatten(2))
        return x + self.mlp(x)

    def _heads(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n d"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class HorizonQueries(nn.Module):
    """A learned query for each of H frames ahead reads what has changed in frames 0 to its own.

    A convolution over time, the difference of neighbouring frames in the beginning, comes before the queries:
    attention alone averages over places, and where few of many pixels change, nothing of it is left. For the
    same reason attention leans to where much changes, at first in proportion to its energy, and to the newest
    frame; both are learned. Keys and values know where and when they are: codes would else tell what is new,
    but not where.
    """

    def __init__(self, *, horizon: int, dim: int, num_heads: int, depth: int, out_dim: int) -> None:
        super().__init__()
        self.change = CausalConv(channels=dim)
        with torch.no_grad():
            for parameter in self.change.parameters():
                parameter.zero_()
            self.change.conv.weight[:, :, -1, 0] = torch.eye(dim)
            self.change.conv.weight[:, :, -2, 0] = -torch.eye(dim)
        self.seen_norm = nn.LayerNorm(dim)
        self.places = Places(dim=dim)
        self.times = nn.Parameter(torch.randn(horizon + 1, dim) * dim**-0.5)
        self.queries = nn.Parameter(torch.randn(horizon, dim) * dim**-0.5)
        self.to_energy = nn.Parameter(torch.ones(()))
        self.to_past = nn.Parameter(torch.full((horizon,), -FORGETTING))
        self.readings = nn.ModuleList(Reading(dim=dim, num_heads=num_heads) for _ in range(depth))
        self.output_norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, out_dim)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, features: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b k d"]:
        changes = self.change(features, None)
        seen = self.seen_norm(changes) + self.places(*features.shape[2:4]) + self.times[:, None, None]
        bias = self._bias(changes)
        x = self.queries.expand(len(features), -1, -1)
        for reading in self.readings:
            x = reading(x, seen.flatten(1, 3), bias)
        return self.output(self.output_norm(x))

    def _bias(self, changes: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b 1 k n"]:
        """Of the attention of query k to every pixel of every frame; -inf for frames after its own."""
        frames, height, width = changes.shape[1:4]
        energy = changes.float().square().mean(-1).flatten(1)  # a half-precision square would vanish
        when = torch.arange(frames, device=changes.device)
        ago = (when[1:, None] - when).repeat_interleave(height * width, dim=1)
        bias = self.to_energy * (energy + QUIET).log()[:, None, None] + self.to_past[:, None] * ago
        return bias.masked_fill(ago < 0, -torch.inf)
