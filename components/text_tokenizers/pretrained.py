"""A tokenizer that came with pretrained weights."""

from typing import Any


class PretrainedTokenizer:
    """Any tokenizer that `transformers` can load, from a folder or a hub id.

    Neither bos nor any other special id is ever added, and a text that spells one (`</s>`) is encoded as
    plain text: LWM's vision processor calls its tokenizer bare, and with most tokenizers bos then stands at
    the start of every field.
    Raises ValueError where transformers is missing, where it cannot load the tokenizer and for a tokenizer
    without bos or eos. Source: LWM (arXiv 2402.08268); official code at f45d2b7, lwm/data.py.
    """

    def __init__(self, *, path: str) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise ValueError("a pretrained tokenizer needs transformers; pip install transformers") from error
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path)
        except Exception as error:  # which errors it may raise differs between its versions
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ValueError(f"{path}: transformers loads no tokenizer from it: {reason}") from error
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if bos is None or eos is None:
            missing = "bos" if bos is None else "eos"
            raise ValueError(
                f"{path}: the tokenizer has no {missing} token; name one in its tokenizer_config.json"
            )
        self.bos, self.eos = int(bos), int(eos)
        self.vocabulary_size = len(self._tokenizer)
        self._tokenizer.model_max_length = 10**30  # the length is the model's affair, not a warning here

    def encode(self, text: str) -> list[int]:
        text = text.encode("utf-8", errors="replace").decode()  # half of a surrogate pair is refused below
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, ids: list[int]) -> str:
        known = [i for i in ids if 0 <= i < self.vocabulary_size]  # a model's table may be larger
        return self._tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
