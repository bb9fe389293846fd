"""The union vocabulary: text and vision in one softmax."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from components.vocabularies.table import Table


class OneTable(nn.Module):
    """One table and one head over text ids and, behind them, vision ids.

    The loss is over all ids: the model also learns which kind comes next. `logits` are those of one kind.
    text_size, vision_size: ids of each kind, either may be 0; special ids count where they are predicted.
    chunk: positions whose logits are in memory at once.
    Source: Loong (arXiv 2410.02757), where text, video and special ids share embedding and softmax;
    VideoWorld (arXiv 2501.09781), where codes and image ids lie behind the text ids.
    """

    def __init__(self, *, dim: int, text_size: int, vision_size: int, chunk: int | None = None) -> None:
        super().__init__()
        self.dim, self.text_size = dim, text_size
        self.table = Table(size=text_size + vision_size, dim=dim, chunk=chunk)

    def embed(self, tokens: Int[Tensor, "b s"], is_vision: Bool[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
        return self.table.tokens(tokens + self.text_size * is_vision)

    def losses(
        self,
        hidden: Float[Tensor, "b s d"],
        targets: Int[Tensor, "b s"],
        target_is_vision: Bool[Tensor, "b s"],
        weights: Float[Tensor, "b s"],
    ) -> dict[str, Float[Tensor, ""]]:
        ids = targets + self.text_size * target_is_vision
        return {
            "text": self.table.loss(hidden, ids, weights, ~target_is_vision),
            "vision": self.table.loss(hidden, ids, weights, target_is_vision),
        }

    def logits(self, hidden: Float[Tensor, "... d"], *, vision: bool) -> Float[Tensor, "... v"]:
        head = self.table.head.weight
        return F.linear(hidden, head[self.text_size :] if vision else head[: self.text_size])
