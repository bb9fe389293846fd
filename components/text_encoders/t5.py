"""Features of T5's or umT5's encoder, frozen."""

from typing import Literal

import torch
from torch import nn

from components.frozen_network import FrozenNetwork, tokenizer, vocabulary_digest
from components.text_encoders import TextFeatures
from components.text_encoders.remembered import RememberedEmpty


class T5Encoder(nn.Module):
    """The last features of T5's encoder, from a folder or a hub id; read when a text is first met.

    path: of a diffusers model, with its folders text_encoder and tokenizer; their names may be given.
    dim: width of the features.  length: most tokens of a text, its end included.
    padding: masked, which ends a text at its last token (Wan); or seen, where the padding up to `length` is
    encoded and counts as text (CogVideoX).
    Raises ValueError, at the first text, for what transformers cannot read.
    Source: the text encoders of Wan (arXiv 2503.20314), 512 tokens, and CogVideoX (arXiv 2408.06072), 226.
    """

    frozen = True
    pooled_dim = 0

    def __init__(
        self,
        *,
        path: str,
        dim: int = 4096,
        length: int = 512,
        padding: Literal["masked", "seen"] = "masked",
        precision: Literal["float32", "bfloat16", "float16"] = "bfloat16",
        encoder_folder: str = "text_encoder",
        tokenizer_folder: str = "tokenizer",
    ) -> None:
        super().__init__()
        self.path, self.tokenizer_folder = path, tokenizer_folder
        self.dim, self.length, self.padding = dim, length, padding
        self.encoder = FrozenNetwork(
            loader="AutoModelForTextEncoding",
            path=path,
            folder=encoder_folder,
            width=dim,
            precision=precision,
        )
        self.remembered = RememberedEmpty()

    def forward(self, texts: list[str]) -> TextFeatures:
        return self.remembered(texts, self._features).like(self.encoder.place)

    def _features(self, texts: list[str]) -> TextFeatures:
        seen = self.padding == "seen"
        ids = tokenizer(self.path, self.tokenizer_folder)(
            texts,
            max_length=self.length,
            truncation=True,
            padding="max_length" if seen else "longest",
            padding_side="right",
            return_tensors="pt",
        ).to(self.encoder.place.device)
        mask = torch.ones_like(ids.attention_mask) if seen else ids.attention_mask
        tokens = self.encoder({"input_ids": ids.input_ids, "attention_mask": mask}).last_hidden_state
        pooled = tokens.new_zeros(len(texts), 0)
        return TextFeatures(tokens, mask.bool(), pooled).filled(self.length)

    def settings(self) -> dict[str, str | int | float | bool]:
        return {
            "encoder": self.encoder.digest(),
            "vocabulary": vocabulary_digest(self.path, self.tokenizer_folder),
            "precision": self.encoder.precision,
            "length": self.length,
            "padding": self.padding,
        }
