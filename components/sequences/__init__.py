"""Sequences: texts and videos as rows of tokens.

| file | from | to |
|---|---|---|
| video_layout | codes of a clip | its tokens with delimiters, and back (LWM) |
| grammar | a record of texts and codes | one example |
| packing | examples | rows of a fixed length with targets, segments and loss weights |

What another paper needs differently is a layout of its own, or examples made without the grammar: packing
asks for nothing but examples.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Example(NamedTuple):
    """One sequence to learn.

    tokens: ids of the text table, or of the vision table where is_vision is true.
    loss: how much predicting this token counts, 0 for a token that is only read. A video whose early frames
        count more has larger numbers there: the mean is weighted by them.
    """

    tokens: Int[Tensor, " n"]
    is_vision: Bool[Tensor, " n"]
    loss: Float[Tensor, " n"]


@runtime_checkable
class Layout(Protocol):
    """How a clip's codes, a row a frame, are written as vision tokens; tokens lie in [0, vocabulary_size).

    Codes keep their numbers, below codebook_size; eof follows every frame but perhaps the last.
    """

    codebook_size: int
    eof: int
    vocabulary_size: int

    def tokens_of(self, codes: Int[Tensor, "f n"]) -> Int[Tensor, " m"]: ...

    def codes_of(self, tokens: Int[Tensor, " m"]) -> Int[Tensor, "f n"]: ...
