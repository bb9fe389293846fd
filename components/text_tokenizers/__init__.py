"""Text tokenizers: strings to ids of a text vocabulary and back.

| name | vocabulary | needs | for |
|---|---|---|---|
| bytes | 256 bytes and 3 special ids | - | tiny runs: any text, no download |
| pretrained | whatever its folder holds | transformers | weights that came with a tokenizer |

None adds special ids by itself: beginning and end belong to the sequence, not to each piece of text in it.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class TextTokenizer(Protocol):
    """Ids of a text; ids lie in [0, vocabulary_size), bos and eos among them.

    `encode` never makes bos or eos, even of a text that spells them. `decode` leaves special ids out and
    takes whatever a model may have sampled.
    """

    vocabulary_size: int
    bos: int
    eos: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...
