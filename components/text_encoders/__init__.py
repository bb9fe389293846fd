"""Text encoders: captions to features that a denoiser is conditioned on.

| name | reads | tokens | width | pooled | weights |
|---|---|---|---|---|---|
| trained | bytes | at most 128 | 64 | 64 | 0.1 M, trained with the model |
| umt5 | pieces | at most 512 | 4096 | none | frozen: Wan |
| t5 | pieces | 226, padding counts as text | 4096 | none | frozen: CogVideoX |
| llama_clip | Llama's and CLIP's pieces | at most 256 | 4096 | 768 | frozen: HunyuanVideo, FramePack |

A frozen encoder's features may be made once and kept beside the latents. The empty text has features too:
they are what unconditional guidance takes.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


class TextFeatures(NamedTuple):
    """Features of a batch of texts, filled up to one length; what is no text is zero."""

    tokens: Float[Tensor, "b n d"]
    mask: Bool[Tensor, "b n"]  # which tokens are text; of every text at least the first
    pooled: Float[Tensor, "b p"]  # one vector a text; p = 0 where the encoder has none

    def where(self, chosen: Bool[Tensor, " b"], other: "TextFeatures") -> "TextFeatures":
        """Other's features where chosen; other holds as many texts, or one for all."""
        length = max(self.tokens.shape[1], other.tokens.shape[1])
        mine, others = self.filled(length), other.filled(length)
        rows = chosen[:, None]
        return TextFeatures(
            tokens=torch.where(rows[..., None], others.tokens, mine.tokens),
            mask=torch.where(rows, others.mask, mine.mask),
            pooled=torch.where(rows, others.pooled, mine.pooled),
        )

    def filled(self, length: int) -> "TextFeatures":
        """With padding up to length, all of it zero."""
        missing = length - self.tokens.shape[1]
        tokens = F.pad(self.tokens * self.mask[..., None], (0, 0, 0, missing))
        return TextFeatures(tokens, F.pad(self.mask, (0, missing)), self.pooled)

    def like(self, place: Tensor) -> "TextFeatures":
        """On the device and in the type of place."""
        return TextFeatures(self.tokens.to(place), self.mask.to(place.device), self.pooled.to(place))


@runtime_checkable
class TextEncoder(Protocol):
    """Features of texts, on the encoder's device; a text's features do not depend on the others'.

    frozen: nothing in it is trained, so that features may be made ahead.
    """

    dim: int
    pooled_dim: int  # 0: none
    length: int  # most tokens of a text; longer texts are cut
    frozen: bool

    def __call__(self, texts: list[str]) -> TextFeatures: ...

    def settings(self) -> dict[str, str | int | float | bool]:
        """What decides the features, beside weights and buffers that are in the state dict."""
