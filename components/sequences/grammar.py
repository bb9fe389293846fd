"""LWM's grammar of fields: what a record's texts and codes look like as one sequence."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from components.randomness import mix
from components.sequences import Example, Layout
from components.text_tokenizers import TextTokenizer

OPENING, CLOSING = "<vision>", "</vision>"  # plain text to the tokenizer, around every video
BOS, EOS = "<|bos|>", "<|eos|>"  # in a grammar: the ids of these names


class Field(NamedTuple):
    """One piece of a sequence: the keys of the record whose texts are joined, or one key of codes."""

    names: tuple[str, ...]
    loss: float  # 1 where its tokens are predicted, 0 where they are only read

    @property
    def is_vision(self) -> bool:
        return "vision" in self.names[0]


def parse(fields: str) -> list[Field]:
    """`[instruction+text],vision` -> its fields.

    Commas join tokens, `a+b` joins texts with a space, `[field]` is read without loss, `<|bos|>` and
    `<|eos|>` are the ids of that name, a name that contains `vision` holds codes.
    Raises ValueError for what the grammar does not know.
    """
    found = []
    for written in (part.strip() for part in fields.split(",")):
        silent = written.startswith("[") and written.endswith("]")
        names = tuple(name.strip() for name in (written[1:-1] if silent else written).split("+"))
        problem = _problem(names)
        if problem:
            raise ValueError(f"fields={fields}: {written!r} {problem}")
        found.append(Field(names, 0.0 if silent else 1.0))
    return found


def _problem(names: tuple[str, ...]) -> str | None:
    """What is wrong with one field, or None."""
    if "" in names:
        return "has an empty name; write names with commas between them, such as [question],vision"
    if names in ((BOS,), (EOS,)):
        return None
    if any(mark in name for name in names for mark in ("<|", "|>")):
        return f"is no special id; there are {BOS} and {EOS}, each a field of its own"
    if any(mark in name for name in names for mark in "[]"):
        return "has a bracket too many; brackets stand around one field, such as [question],[vision],answer"
    if len(names) > 1 and any("vision" in name for name in names):
        return "joins codes with text; put a comma between them"
    return None


class Grammar:
    """A record (texts and codes by name) and its line number -> an Example.

    fields: the sequence as in `parse`. Of several alternatives one is drawn for each line by (seed, line), so
        every process and every resumed run draws the same one.
    max_n_frames: longer videos keep that many frames, evenly spaced, first and last among them.
    codes_per_frame: cuts flat lists of codes into frames; not needed for codes of shape (frames, ...).

    A sequence begins with bos (not predicted) and ends with eos (predicted). Each field is encoded by itself.
    `<vision>` and `</vision>` around the codes are plain text and count in the loss as the codes do.
    Raises ValueError for fields outside of the grammar and for records that do not have them.
    Source: LWM (arXiv 2402.08268), official code, lwm/data.py; where it encodes with the tokenizer's special
    ids, this does not, as the released weights were trained.
    """

    def __init__(
        self,
        *,
        fields: str | list[str],
        text_tokenizer: TextTokenizer,
        layout: Layout,
        max_n_frames: int | None = None,
        codes_per_frame: int | None = None,
        seed: int = 0,
    ) -> None:
        alternatives = [fields] if isinstance(fields, str) else fields
        if not alternatives:
            raise ValueError("fields=[]: give at least one sequence of fields, such as [caption],vision")
        if max_n_frames is not None and max_n_frames < 1:
            raise ValueError(
                f"max_n_frames={max_n_frames}: a video keeps at least 1 frame; leave it out to keep all"
            )
        self.alternatives = [parse(alternative) for alternative in alternatives]
        self.text_tokenizer, self.layout = text_tokenizer, layout
        self.max_n_frames, self.codes_per_frame, self.seed = max_n_frames, codes_per_frame, seed
        self.opening = torch.tensor(text_tokenizer.encode(OPENING))
        self.closing = torch.tensor(text_tokenizer.encode(CLOSING))

    def __call__(self, record: Mapping[str, Any], line: int) -> Example:
        fields = self.alternatives[mix(self.seed, line) % len(self.alternatives)]
        pieces = [_Piece(torch.tensor([self.text_tokenizer.bos]), False, 0.0)]
        for field in fields:
            try:
                pieces += self._pieces(field, record)
            except ValueError as error:
                raise ValueError(f"line {line}, field {'+'.join(field.names)}: {error}") from error
        pieces.append(_Piece(torch.tensor([self.text_tokenizer.eos]), False, 1.0))
        sizes = torch.tensor([len(piece.tokens) for piece in pieces])
        return Example(
            tokens=torch.cat([piece.tokens for piece in pieces]),
            is_vision=torch.tensor([piece.is_vision for piece in pieces]).repeat_interleave(sizes),
            loss=torch.tensor([piece.loss for piece in pieces]).repeat_interleave(sizes),
        )

    def _pieces(self, field: Field, record: Mapping[str, Any]) -> list["_Piece"]:
        if field.names in ((BOS,), (EOS,)):
            special = self.text_tokenizer.bos if field.names == (BOS,) else self.text_tokenizer.eos
            return [_Piece(torch.tensor([special]), False, field.loss)]
        for name in field.names:
            if name not in record:
                raise ValueError(f"the record has no {name}; it has {', '.join(record)}")
        if field.is_vision:
            tokens = self.layout.tokens_of(self._kept(self._frames(record[field.names[0]])))
            video = [(self.opening, False), (tokens, True), (self.closing, False)]
            return [_Piece(each, is_vision, field.loss) for each, is_vision in video]
        texts = [record[name] for name in field.names]
        for name, text in zip(field.names, texts, strict=True):
            if not isinstance(text, str):
                raise ValueError(
                    f"{name} must be a text, not {type(text).__name__}; codes need `vision` in their name"
                )
        ids = self.text_tokenizer.encode(" ".join(texts))
        return [_Piece(torch.tensor(ids, dtype=torch.long), False, field.loss)]

    def _frames(self, codes: Any) -> Int[Tensor, "f n"]:
        try:
            codes = torch.as_tensor(codes)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError("codes must be whole numbers, the same number for each frame") from error
        if codes.is_floating_point() or codes.dtype == torch.bool or codes.ndim == 0 or codes.numel() == 0:
            raise ValueError(
                f"codes must be whole numbers, at least one; here are {codes.dtype}, {tuple(codes.shape)}"
            )
        if codes.ndim > 1:
            return codes.flatten(1).long()
        if self.codes_per_frame is None or len(codes) % self.codes_per_frame:
            raise ValueError(
                f"{len(codes)} codes in a flat list are no whole number of frames "
                f"(codes_per_frame={self.codes_per_frame}); set codes_per_frame, or give one list a frame"
            )
        return codes.long().unflatten(0, (-1, self.codes_per_frame))

    def _kept(self, codes: Int[Tensor, "f n"]) -> Int[Tensor, "k n"]:
        """At most max_n_frames frames: floor(linspace(0, f - 1, max_n_frames)), in whole numbers."""
        if self.max_n_frames is None or len(codes) <= self.max_n_frames:
            return codes
        return codes[torch.arange(self.max_n_frames) * (len(codes) - 1) // max(self.max_n_frames - 1, 1)]


class _Piece(NamedTuple):
    tokens: Int[Tensor, " n"]
    is_vision: bool
    loss: float
