"""Generation with a cache: prompts of different lengths are read once, then one token a row and step."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.backbones import TokenDecoder
from components.samplers import TokenSampler
from components.sequences import Layout
from components.vocabularies import Vocabulary


class Prompt(NamedTuple):
    """What is known of a sequence."""

    tokens: Int[Tensor, " n"]
    is_vision: Bool[Tensor, " n"]


class Reader:
    """A decoder with a vocabulary and a cache: reads prompts, then tokens, and says what may come next.

    Prompts are padded on the left, so that all rows go on at the same slot; positions count from each row's
    first real token.
    """

    def __init__(
        self, decoder: TokenDecoder, vocabulary: Vocabulary, prompts: list[Prompt], num_new: int
    ) -> None:
        self.decoder, self.vocabulary = decoder, vocabulary
        weight = next(iter(vocabulary.parameters()))
        device, sizes = weight.device, [len(prompt.tokens) for prompt in prompts]
        self.cache = decoder.new_cache(len(prompts), max(sizes) + num_new, dtype=weight.dtype, device=device)
        self.cache.start = torch.tensor([max(sizes) - size for size in sizes], device=device)
        padded = [_left_padded(prompt, max(sizes)) for prompt in prompts]
        tokens, is_vision = (torch.stack(column).to(device) for column in zip(*padded, strict=True))
        self.hidden: Float[Tensor, "b d"] = self._read(tokens, is_vision)

    def logits(self, *, vision: bool) -> Float[Tensor, "b v"]:
        return self.vocabulary.logits(self.hidden, vision=vision)

    def read(self, tokens: Int[Tensor, " b"], *, vision: bool) -> None:
        """One more token for every row."""
        kind = torch.full_like(tokens, vision, dtype=torch.bool)
        self.hidden = self._read(tokens[:, None], kind[:, None])

    def _read(self, tokens: Int[Tensor, "b s"], is_vision: Bool[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        return self.decoder(self.vocabulary.embed(tokens, is_vision), cache=self.cache)[:, -1]


@torch.no_grad()
def generate_frames(
    decoder: TokenDecoder,
    vocabulary: Vocabulary,
    layout: Layout,
    prompts: list[Prompt],
    unconditional: list[Prompt],
    num_frames: int,
    codes_per_frame: int,
    sampler: TokenSampler,
    generator: torch.Generator,
) -> Iterator[Int[Tensor, "b n"]]:
    """Yield the codes of one frame after the other.

    A delimiter follows each frame, forced and never drawn; ids that are no codes are never drawn.
    unconditional: prompts that tell less, read where the sampler guides: both go on with the same tokens.
    Source: LWM's official code, _sample_vision.
    """
    b = len(prompts)
    guides = sampler.guidance != 1.0
    reader = Reader(
        decoder,
        vocabulary,
        [*prompts, *unconditional] if guides else prompts,
        num_frames * (codes_per_frame + 1),
    )
    for _ in range(num_frames):
        codes = []
        for _ in range(codes_per_frame):
            logits = reader.logits(vision=True)[:, : layout.codebook_size]
            if guides:
                logits = sampler.guided(logits[:b], logits[b:])
            codes.append(sampler.draw(logits, generator))
            reader.read(codes[-1].repeat(2) if guides else codes[-1], vision=True)
        yield torch.stack(codes, dim=1)
        reader.read(torch.full((len(reader.hidden),), layout.eof, device=codes[0].device), vision=True)


@torch.no_grad()
def generate_text(
    decoder: TokenDecoder,
    vocabulary: Vocabulary,
    prompts: list[Prompt],
    num_tokens: int,
    eos: int,
    sampler: TokenSampler,
    generator: torch.Generator,
) -> list[list[int]]:
    """Text ids up to eos, which is left out, or num_tokens of them."""
    reader = Reader(decoder, vocabulary, prompts, num_tokens)
    made = []
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=reader.hidden.device)
    for step in range(num_tokens):
        made.append(sampler.draw(reader.logits(vision=False), generator))
        ended |= made[-1] == eos
        if ended.all():
            break
        if step + 1 < num_tokens:
            reader.read(made[-1], vision=False)
    rows = torch.stack(made, dim=1).tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]


def _left_padded(prompt: Prompt, length: int) -> tuple[Tensor, Tensor]:
    missing = length - len(prompt.tokens)
    return (
        torch.nn.functional.pad(prompt.tokens, (missing, 0)),
        torch.nn.functional.pad(prompt.is_vision, (missing, 0)),
    )
