"""What of a clip becomes a sequence, and in what order: LWM's fields over a clip's texts and codes."""

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from components.clip import Clip
from components.samplers.generation import Prompt
from components.sequences import Example, Layout
from components.sequences.grammar import OPENING, Grammar, parse
from components.text_tokenizers import TextTokenizer

Codes = Int[Tensor, "b f n"]
Record = dict[str, Any]
TEXTS = {"caption": "text", "question": "question", "answer": "answer"}  # by their keys in a clip
OF_A_CLIP = (*TEXTS, "vision", "image_vision")  # what fields name beside phrases


class Sequences:
    """Examples to learn and prompts to go on from, both in the grammar of components/sequences/grammar.py.

    phrases, fields: as of recipes.lwm.recipe.LWM.  seed: of the choice among a clip's fields.
    """

    def __init__(
        self,
        *,
        phrases: Mapping[str, str],
        fields: list[str],
        text_tokenizer: TextTokenizer,
        layout: Layout,
        seed: int,
    ) -> None:
        self.phrases, self.fields, self.seed = dict(phrases), fields, seed
        self.text_tokenizer, self.layout = text_tokenizer, layout
        self.needs = {line: named(line) for line in fields}
        self.grammars: dict[tuple[str, ...], Grammar] = {}

    def examples(self, clip: Clip, codes: Codes | None) -> list[Example]:
        """One sequence a clip, its modalities in an order drawn by the clip's id. codes: None = no video."""
        return [
            self.grammar(record)(record, zlib.crc32(name.encode()))
            for name, record in zip(clip["id"], self.records(clip, codes), strict=True)
        ]

    def records(self, clip: Clip, codes: Codes | None) -> list[Record]:
        """All that the fields may name, clip by clip."""
        known: dict[str, Any] = {name: clip[key] for name, key in TEXTS.items() if key in clip}
        if codes is not None:
            known |= {"vision": codes.cpu(), "image_vision": codes[:, :1].cpu()}
        return [
            self.phrases | {name: values[i] for name, values in known.items() if len(values[i])}
            for i in range(len(clip["id"]))
        ]

    def grammar(self, record: Record) -> Grammar:
        """Of the alternatives that this record has everything for."""
        usable = tuple(line for line, names in self.needs.items() if names <= record.keys())
        if usable not in self.grammars:
            if not usable:
                raise ValueError(f"model.fields: none goes without texts, and a clip has {', '.join(record)}")
            self.grammars[usable] = Grammar(
                fields=list(usable), text_tokenizer=self.text_tokenizer, layout=self.layout, seed=self.seed
            )
        return self.grammars[usable]

    def prompt(self, fields: str, record: Record) -> Prompt:
        """All of the fields, to be gone on with: without eos."""
        grammar = Grammar(fields=fields, text_tokenizer=self.text_tokenizer, layout=self.layout)
        known = grammar(self.phrases | record, 0)
        return Prompt(known.tokens[:-1], known.is_vision[:-1])

    def begun(self, fields: str, record: Record, codes: Int[Tensor, "f n"] | None = None) -> Prompt:
        """bos, the fields' texts, `<vision>`, and frames that others will follow."""
        known = self.phrases | record
        texts = [" ".join(known[n] for n in field.names) for field in parse(fields)] if fields else []
        ids = [i for text in [*texts, OPENING] for i in self.text_tokenizer.encode(text)]
        text = torch.tensor([self.text_tokenizer.bos, *ids])
        vision = torch.zeros(0, dtype=torch.long)
        if codes is not None:
            ends = codes.new_full((len(codes), 1), self.layout.eof)
            vision = torch.cat([codes, ends], dim=1).flatten()
        return Prompt(torch.cat([text, vision]), torch.arange(len(text) + len(vision)) >= len(text))


def named(fields: str) -> set[str]:
    """What a record must have for these fields; special ids need nothing."""
    return {name for field in parse(fields) for name in field.names if not name.startswith("<|")}
