"""Decoding in parts."""

from jaxtyping import Float
from torch import Tensor

from components.latent_tokenizers import LatentTokenizer
from components.section_decodings import Decode


class Exact:
    """Frames as soon as their latents are there, as the tokenizer decodes a video in parts."""

    def __call__(self, tokenizer: LatentTokenizer, z: Float[Tensor, "b l c i j"], *, section: int) -> Decode:
        decode = tokenizer.decoding()
        decode(z)

        def following(latents: Float[Tensor, "b l c i j"], final: bool) -> Float[Tensor, "b t 3 h w"]:
            return decode(latents)

        return following
