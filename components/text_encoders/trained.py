"""A small text encoder that learns with the model it serves."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from components.text_encoders import TextFeatures
from components.text_tokenizers import TextTokenizer


class TrainedTextEncoder(nn.Module):
    """A transformer over a text's ids; its feature of the beginning is the pooled vector.

    dim: width of tokens and of the pooled vector.  length: most tokens of a text, beginning included.
    The empty text is the beginning alone. Raises ValueError for heads that do not divide dim.
    """

    frozen = False

    def __init__(
        self, *, tokenizer: TextTokenizer, dim: int, num_layers: int, num_heads: int, length: int
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} does not divide into num_heads {num_heads}")
        self.tokenizer = tokenizer
        self.dim = self.pooled_dim = dim
        self.length = length
        self.embedding = nn.Embedding(tokenizer.vocabulary_size, dim)
        self.positions = nn.Parameter(torch.empty(length, dim))
        self.layers = nn.ModuleList(Layer(dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, texts: list[str]) -> TextFeatures:
        begun = [[self.tokenizer.bos, *self.tokenizer.encode(text)][: self.length] for text in texts]
        longest = max(map(len, begun))
        filled = [ids + [self.tokenizer.eos] * (longest - len(ids)) for ids in begun]
        device = self.positions.device
        lengths = torch.tensor([len(ids) for ids in begun], device=device)
        mask = torch.arange(longest, device=device)[None] < lengths[:, None]
        x = self.embedding(torch.tensor(filled, device=device)) + self.positions[:longest]
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x)
        return TextFeatures(tokens=x * mask[..., None], mask=mask, pooled=x[:, 0])

    def settings(self) -> dict[str, str | int | float | bool]:
        return {"tokenizer": type(self.tokenizer).__qualname__, "length": self.length}


class Layer(nn.Module):
    """Attention to the text's own tokens, then a feed-forward, each on normed features and added."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # b h n d each
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        x = x + self.output(seen.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)
