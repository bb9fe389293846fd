"""The two text encoders of HunyuanVideo, frozen: a language model's features and CLIP's pooled vector."""

from typing import Any, Literal

from torch import nn

from components.frozen_network import FrozenNetwork, tokenizer, vocabulary_digest
from components.text_encoders import TextFeatures
from components.text_encoders.remembered import RememberedEmpty

BEFORE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n"
)
AFTER = "<|eot_id|>"
CLIP_LENGTH = 77


class LlamaClipEncoder(nn.Module):
    """Llama's features two layers before its last, and CLIP's pooled vector; read when a text is first met.

    path: folder or hub id of a diffusers model, with its folders text_encoder, tokenizer, text_encoder_2 and
    tokenizer_2.  dim, pooled_dim: widths of the two.  length: most tokens of a text.
    The language model is asked to describe a video; the question's own tokens (95 of Llama 3's) are cut off.
    Raises ValueError, at the first text, for what transformers cannot read.
    Source: HunyuanVideo (arXiv 2412.03603), template and layer as in its code and FramePack's.
    """

    frozen = True

    def __init__(
        self,
        *,
        path: str,
        dim: int = 4096,
        pooled_dim: int = 768,
        length: int = 256,
        precision: Literal["float32", "bfloat16", "float16"] = "bfloat16",
    ) -> None:
        super().__init__()
        self.path = path
        self.dim, self.pooled_dim, self.length = dim, pooled_dim, length
        self.llama = FrozenNetwork(
            loader="AutoModel", path=path, folder="text_encoder", width=dim, precision=precision
        )
        self.clip = FrozenNetwork(
            loader="CLIPTextModel", path=path, folder="text_encoder_2", width=pooled_dim, precision=precision
        )
        self.remembered = RememberedEmpty()

    def forward(self, texts: list[str]) -> TextFeatures:
        return self.remembered(texts, self._features).like(self.llama.place)

    def _features(self, texts: list[str]) -> TextFeatures:
        before = len(tokenizer(self.path, "tokenizer")(BEFORE).input_ids)
        asked = self._ids("tokenizer", [BEFORE + text + AFTER for text in texts], before + self.length)
        layers = self.llama(asked | {"output_hidden_states": True}).hidden_states
        tokens, mask = layers[-3][:, before:], asked["attention_mask"][:, before:].bool()
        ids = {"input_ids": self._ids("tokenizer_2", texts, CLIP_LENGTH)["input_ids"]}
        features = TextFeatures(tokens, mask, self.clip(ids).pooler_output)
        return features.filled(self.length)

    def _ids(self, folder: str, texts: list[str], length: int) -> dict[str, Any]:
        ids = tokenizer(self.path, folder)(
            texts,
            max_length=length,
            truncation=True,
            padding="longest",
            padding_side="right",
            return_tensors="pt",
        ).to(self.llama.place.device)
        return {"input_ids": ids.input_ids, "attention_mask": ids.attention_mask}

    def settings(self) -> dict[str, str | int | float | bool]:
        return {
            "llama": self.llama.digest(),
            "clip": self.clip.digest(),
            "llama vocabulary": vocabulary_digest(self.path, "tokenizer"),
            "clip vocabulary": vocabulary_digest(self.path, "tokenizer_2"),
            "precision": self.llama.precision,
            "length": self.length,
        }
