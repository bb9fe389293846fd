"""Section decodings: how latents that arrive section by section become frames.

| name | between sections | held back | source |
|---|---|---|---|
| exact | as decoding all at once, where the tokenizer can do so in parts | nothing | ours |
| cross_fade | each behind the one before it, faded over what they share | a section | FramePack's code |
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from components.latent_tokenizers import LatentTokenizer

Decode = Callable[[Float[Tensor, "b l c i j"], bool], Float[Tensor, "b t 3 h w"]]


@runtime_checkable
class SectionDecoding(Protocol):
    """Begin behind known latents z: a function of the latents that follow, and whether they are the last.

    It gives the frames that will not change any more, those of z left out; in all time_factor a latent.
    section: latent frames made at once.
    """

    def __call__(
        self, tokenizer: LatentTokenizer, z: Float[Tensor, "b l c i j"], *, section: int
    ) -> Decode: ...
