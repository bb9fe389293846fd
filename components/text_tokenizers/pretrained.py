"""A tokenizer that came with pretrained weights."""

from functools import cached_property
from typing import Any


class PretrainedTokenizer:
    """Any tokenizer that `transformers` can load, from a folder or a hub id.

    vocabulary_size: ids of the model's text table, where the table says and not the tokenizer. The files are
        then read when a text is first met, so that a model can be built, or its cost be told, without them.

    Neither bos nor any other special id is ever added, and a text that spells one (`</s>`) is encoded as
    plain text: LWM's vision processor calls its tokenizer bare, and with most tokenizers bos then stands at
    the start of every field.
    Raises ValueError where transformers is missing, where it cannot load the tokenizer and for a tokenizer
    without bos or eos, or with more ids than vocabulary_size. Source: LWM (arXiv 2402.08268); official code
    at f45d2b7, lwm/data.py.
    """

    def __init__(self, *, path: str, vocabulary_size: int | None = None) -> None:
        self.path, self.most_ids = path, vocabulary_size
        self.vocabulary_size = len(self._tokenizer) if vocabulary_size is None else vocabulary_size

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise ValueError("a pretrained tokenizer needs transformers; pip install transformers") from error
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(self.path)
        except Exception as error:  # which errors it may raise differs between its versions
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ValueError(f"{self.path}: transformers loads no tokenizer from it: {reason}") from error
        for name in ("bos", "eos"):
            if getattr(tokenizer, f"{name}_token_id") is None:
                told = f"the tokenizer has no {name} token; name one in its tokenizer_config.json"
                raise ValueError(f"{self.path}: {told}")
        if self.most_ids is not None and len(tokenizer) > self.most_ids:
            told = f"the tokenizer has {len(tokenizer)} ids, the model's table {self.most_ids}"
            raise ValueError(f"{self.path}: {told}; give the tokenizer that the weights came with")
        tokenizer.model_max_length = 10**30  # the length is the model's affair, not a warning here
        return tokenizer

    @property
    def bos(self) -> int:
        return int(self._tokenizer.bos_token_id)

    @property
    def eos(self) -> int:
        return int(self._tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        text = text.encode("utf-8", errors="replace").decode()  # half of a surrogate pair is refused below
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, ids: list[int]) -> str:
        known = [i for i in ids if 0 <= i < len(self._tokenizer)]  # a model's table may be larger
        return self._tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
