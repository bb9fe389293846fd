"""Needles in long texts: facts among filler, and a question about one of them at the end."""

import string
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.drawn_clips import HELD_OUT_CLIPS, DrawnClips, numbers_asked, numbers_of

CITIES = (
    "Ankara", "Athens", "Bangkok", "Barcelona", "Berlin", "Bogota", "Brussels", "Cairo", "Chicago",
    "Copenhagen", "Dakar", "Delhi", "Dublin", "Geneva", "Hanoi", "Havana", "Helsinki", "Istanbul", "Jakarta",
    "Johannesburg", "Kyoto", "Lagos", "Lima", "Lisbon", "London", "Madrid", "Manila", "Melbourne", "Montreal",
    "Moscow", "Mumbai", "Nairobi", "Oslo", "Paris", "Prague", "Quito", "Rome", "Santiago", "Seoul",
    "Singapore", "Stockholm", "Sydney", "Taipei", "Tokyo", "Toronto", "Vancouver", "Vienna", "Warsaw",
)  # fmt: skip


class Facts(NamedTuple):
    """How facts are worded. end: of the word or sentence behind which one may stand."""

    names: tuple[str, ...]
    digits: int
    wording: str
    end: str

    @property
    def numbers(self) -> range:
        return range(10 ** (self.digits - 1) if self.digits > 1 else 0, 10**self.digits)

    def told(self, name: str, number: str) -> str:
        return self.wording.format(name=name, number=number)


LETTERS = Facts(tuple(string.ascii_uppercase), 1, "{name}{number} ", " ")
MAGIC_NUMBERS = Facts(CITIES, 7, " The special magic {name} number is: {number}.", ".")


class TextHaystack:
    """A ClipSource of texts without video: `needles` facts in `length` bytes of filler, and `asked` of them.

    Without documents a fact is "K7", a capital letter and a digit, filler is words of small letters, and
    question and answer are "K" and "K7", so that a tiny decoder over bytes learns to look facts up. With
    documents, a folder of .txt files, facts and questions are those of LWM's evaluation (arXiv 2402.08268):
    "The special magic Paris number is: 1234567.", put behind the end of a sentence; the answer is the number.
    All names of one text are different, and no answer stands in a question.

    Clip: text, question, answer; id is needles/seedS/SPLIT/INDEX. All pure functions of the arguments here.

    Args:
        shortest: lengths are drawn evenly from this to `length`; None: all texts have `length` bytes.
        depths: shares of the text between which facts lie; 1 = its end.

    Raises: SourceError for facts that do not fit, and a folder without enough text.
    """

    def __init__(
        self,
        *,
        length: int,
        shortest: int | None = None,
        needles: int = 1,
        asked: int = 1,
        depths: tuple[float, float] = (0.0, 1.0),
        documents: str | None = None,
        seed: int,
        num_clips: int = 1_000_000,
    ) -> None:
        self.facts = LETTERS if documents is None else MAGIC_NUMBERS
        names = self.facts.names
        if not 1 <= asked <= needles <= len(names) or num_clips < 1:
            told = f"{asked} asked of {needles} needles"
            raise SourceError(f"text_haystack: {told}; ask for 1 or more of up to {len(names)}")
        if not 0 <= depths[0] <= depths[1] <= 1:
            raise SourceError(f"text_haystack: depths are {list(depths)}; give two shares, the smaller first")
        self.length, self.needles, self.asked, self.depths = length, needles, asked, tuple(depths)
        self.documents, self.seed, self.num_clips = documents, seed, num_clips
        self.shortest = length if shortest is None else shortest
        if not 1 <= self.shortest <= length:
            raise SourceError(f"text_haystack: shortest is {shortest}, length {length}; give 1 to the length")
        room = self.shortest - needles * len(self.facts.told(max(names, key=len), "0" * self.facts.digits))
        if room < needles:
            raise SourceError(
                f"text_haystack: {needles} needles do not fit into {self.shortest} bytes; "
                "set data.length to more"
            )

    @property
    def guessing(self) -> float:
        """How often numbers drawn at random are all right."""
        return float(len(self.facts.numbers)) ** -self.asked

    def spec(self) -> ClipSpec:
        return ClipSpec(num_frames=0, height=0, width=0)

    def split(self, name: Split) -> Dataset:
        return DrawnClips(self, name, self.num_clips if name == "train" else HELD_OUT_CLIPS)

    def clip(self, split: Split, index: int) -> dict[str, Any]:
        """One text with its question, without the batch axis."""
        rng = numbers_of(split, self.seed, index)
        depths = rng.uniform(*self.depths, size=self.needles)
        mixed = self.shortest < self.length
        length = int(rng.integers(self.shortest, self.length + 1)) if mixed else self.length
        return self._made(rng, length, depths) | {"id": f"needles/seed{self.seed}/{split}/{index}"}

    def sample(self, *, length: int, depth: float, index: int) -> dict[str, Any]:
        """A text of this length for a test, what is asked for at this depth; other facts lie anywhere."""
        rng = numbers_asked(self.seed, length, index)
        depths = rng.uniform(size=self.needles)
        depths[: self.asked] = depth
        told = f"needles/seed{self.seed}/test/{length}/{depth:g}/{index}"
        return self._made(rng, length, depths) | {"id": told}

    def _made(self, rng: np.random.Generator, length: int, depths: np.ndarray) -> dict[str, Any]:
        names = rng.choice(self.facts.names, size=self.needles, replace=False).tolist()
        numbers = self.facts.numbers
        values = [str(number) for number in rng.integers(numbers.start, numbers.stop, size=self.needles)]
        facts = [self.facts.told(*pair) for pair in zip(names, values, strict=True)]
        text = self._filler(rng, length - sum(map(len, facts)))
        places = sorted(
            ((self._place(text, depth), fact) for depth, fact in zip(depths, facts, strict=True)),
            reverse=True,
        )
        for place, fact in places:
            text = text[:place] + fact + text[place:]
        asked, told = names[: self.asked], values[: self.asked]
        if self.documents is None:
            answer = " ".join(f"{name}{value}" for name, value in zip(asked, told, strict=True))
            return {"text": text, "question": " ".join(asked), "answer": answer}
        many = "s" if len(asked) > 1 else ""
        question = f"What {'are' if many else 'is'} the special magic {', '.join(asked)} number{many}?"
        return {"text": text, "question": question, "answer": ", ".join(told)}

    def _filler(self, rng: np.random.Generator, length: int) -> str:
        if self.documents is None:
            letters = rng.integers(26, size=length)
            ends = rng.random(length) < 0.25
            return "".join(
                " " if end else string.ascii_lowercase[i] for i, end in zip(letters, ends, strict=True)
            )
        start = int(rng.integers(max(1, len(self._book) - length)))
        return self._book[start : start + length]

    def _place(self, text: str, depth: float) -> int:
        """Behind the last word, or sentence, that ends before this depth."""
        place = round(depth * len(text))
        if depth == 1:
            return len(text)
        return text.rfind(self.facts.end, 0, place) + 1

    @cached_property
    def _book(self) -> str:
        files = sorted(Path(str(self.documents)).expanduser().rglob("*.txt"))
        text = " ".join(file.read_text(encoding="utf-8", errors="ignore") for file in files)
        if len(text) < self.length:
            told = f"data.documents={self.documents}: {len(files)} *.txt with {len(text)} letters"
            raise SourceError(f"{told}; give at least {self.length}")
        return text
