"""Vocabularies: tokens of text and vision into vectors, and hidden vectors into the next token.

| name | tables | softmax over | paper |
|---|---|---|---|
| two_tables | one for text, one for vision | the ids of the token's own kind | LWM |
| one_table | one, vision ids behind the text ids | all ids | Loong, VideoWorld |

Tokens are numbered within their kind, so sequences do not depend on which of them is used.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Vocabulary(Protocol):
    """Both ends of a language model over text and vision.

    `losses` sums weight times cross-entropy over the batch: `text` and `vision`, each over its own targets.
    `logits` are those of one kind, over the ids of that kind.
    """

    dim: int

    def embed(self, tokens: Int[Tensor, "b s"], is_vision: Bool[Tensor, "b s"]) -> Float[Tensor, "b s d"]: ...

    def losses(
        self,
        hidden: Float[Tensor, "b s d"],
        targets: Int[Tensor, "b s"],
        target_is_vision: Bool[Tensor, "b s"],
        weights: Float[Tensor, "b s"],
    ) -> dict[str, Float[Tensor, ""]]: ...

    def logits(self, hidden: Float[Tensor, "... d"], *, vision: bool) -> Float[Tensor, "... v"]: ...
