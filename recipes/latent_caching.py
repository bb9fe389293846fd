"""Latents and text features made once, ahead of a training that only reads them."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from components.clip import Clip, ClipSpec, clip_size
from components.image_encoders import ImageEncoder
from components.latent_fingerprint import Fingerprint, made_by
from components.latent_tokenizers import LatentTokenizer
from components.text_encoders import TextEncoder, TextFeatures
from recipes.stage import Stage
from recipes.world_model import pixels

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Encoded(NamedTuple):
    """What a batch of clips becomes, on the CPU: all but texts are added to the clips by these names."""

    clips: dict[str, Tensor]
    texts: dict[str, TextFeatures]  # each text's features as a batch of one


class FrozenTexts:
    """Features of texts, each encoded alone so that they depend on no other; none if the encoder trains."""

    def __init__(self, encoder: TextEncoder | None, dtype: torch.dtype) -> None:
        self.encoder, self.dtype = encoder, dtype
        self._last: dict[str, TextFeatures] = {}  # of the last batch: clips of one video come together

    def __call__(self, texts: list[str]) -> dict[str, TextFeatures]:
        if self.encoder is None or not self.encoder.frozen:
            return {}
        known = self._last
        self._last = {t: known[t] if t in known else self._encoded(t) for t in dict.fromkeys(texts)}
        return self._last

    def _encoded(self, text: str) -> TextFeatures:
        assert self.encoder is not None
        tokens, mask, pooled = (part.cpu() for part in self.encoder([text]))
        return TextFeatures(tokens.to(self.dtype), mask, pooled.to(self.dtype))


class LatentCaching(Stage):
    """Encode clips with a tokenizer that is trained; nothing is learned here. See callbacks.latent_writer.

    text_encoder: makes features too if it is frozen; one that is trained along cannot be cached.
    image_encoder: the same of first frames.
    dtype: of what is stored. Encoding is in the trainer's precision.
    """

    trains = False

    def __init__(
        self,
        *,
        tokenizer: LatentTokenizer,
        text_encoder: TextEncoder | None = None,
        image_encoder: ImageEncoder | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.tokenizer, self.text_encoder, self.image_encoder = tokenizer, text_encoder, image_encoder
        self.dtype_name, self.stored_dtype = dtype, DTYPES[dtype]
        self.features = FrozenTexts(text_encoder, self.stored_dtype)

    def check_fits(self, spec: ClipSpec) -> None:
        for size in spec.sizes():
            self.tokenizer.grid(*size)

    def fingerprint(self) -> Fingerprint:
        """All that decides what is made of a clip, but for the trainer's precision."""
        parts = {
            "tokenizer": self.tokenizer,
            "text encoder": self.text_encoder,
            "image encoder": self.image_encoder,
        }
        return made_by(parts) | {"dtype": self.dtype_name, "normalised": True}

    def predict_step(self, clip: Clip, batch_index: int) -> Encoded:
        video = pixels(clip["video"])
        made = {"latents": self.stored(self.tokenizer.encode(video))}
        if self.image_encoder is not None and self.image_encoder.frozen:
            made["image_tokens"] = self.stored(self.image_encoder(video[:, 0]))
        return Encoded(made, self.features(clip["text"] if "text" in clip else [""] * clip_size(clip)))

    def stored(self, values: Tensor) -> Tensor:
        return values.to("cpu", self.stored_dtype)
