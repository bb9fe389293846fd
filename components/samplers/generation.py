"""Generation with a cache: prompts of different lengths are read once, then one token a row and step."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from components.backbones import TokenDecoder
from components.backbones.small_batch import small_batches
from components.samplers import TokenSampler
from components.sequences import Layout
from components.vocabularies import Vocabulary

WORTH_IT = 2_000_000  # weights; fewer stay in a CPU's cache, and another layout only costs


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
        self.modules = nn.ModuleList([cast(nn.Module, decoder), cast(nn.Module, vocabulary)])
        weight = next(self.modules[1].parameters())
        device, sizes = weight.device, [len(prompt.tokens) for prompt in prompts]
        self.cache = decoder.new_cache(len(prompts), max(sizes) + num_new, dtype=weight.dtype, device=device)
        self.cache.start = torch.tensor([max(sizes) - size for size in sizes], device=device)
        padded = [_left_padded(prompt, max(sizes)) for prompt in prompts]
        tokens, is_vision = (torch.stack(column).to(device) for column in zip(*padded, strict=True))
        self.hidden: Float[Tensor, "b d"] = self._read(tokens, is_vision)

    def token_by_token(self) -> AbstractContextManager[None]:
        """Within it a read of few tokens is faster, and the weights must stay as they are.

        It is not held open where a generator may be left: the weights' other layout would stay in place.
        """
        if sum(weight.numel() for weight in self.modules.parameters()) < WORTH_IT:
            return nullcontext()
        return small_batches(self.modules, len(self.hidden))

    def logits(self, *, vision: bool) -> Float[Tensor, "b v"]:
        return self.vocabulary.logits(self.hidden, vision=vision)

    def read(self, tokens: Int[Tensor, "b s"], *, vision: bool) -> None:
        """The next tokens of every row."""
        self.hidden = self._read(tokens, torch.full_like(tokens, vision, dtype=torch.bool))

    def _read(self, tokens: Int[Tensor, "b s"], is_vision: Bool[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        return self.decoder(self.vocabulary.embed(tokens, is_vision), cache=self.cache)[:, -1]


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
    read = [*prompts, *unconditional] if guides else prompts
    with torch.inference_mode():
        reader = Reader(decoder, vocabulary, read, num_frames * (codes_per_frame + 1))

    def draw() -> Int[Tensor, "b 1"]:
        logits = reader.logits(vision=True)[:, : layout.codebook_size]
        if guides:
            logits = sampler.guided(logits[:b], logits[b:])
        return sampler.draw(logits, generator)[:, None]

    def go_on(tokens: Int[Tensor, "b s"]) -> None:
        reader.read(tokens.repeat(2, 1) if guides else tokens, vision=True)

    codes: list[Tensor] = []
    for number in range(num_frames):
        with torch.inference_mode(), reader.token_by_token():
            if number > 0:
                go_on(torch.cat([codes[-1], torch.full_like(codes[-1], layout.eof)], dim=1))
            codes = [draw()]
            while len(codes) < codes_per_frame:
                go_on(codes[-1])
                codes.append(draw())
        yield torch.cat(codes, dim=1)  # made out here: a tensor that a later backward pass may keep


@torch.inference_mode()
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
    made = [sampler.draw(reader.logits(vision=False), generator)]
    ended = made[0] == eos
    with reader.token_by_token():
        while len(made) < num_tokens and not ended.all():
            reader.read(made[-1][:, None], vision=False)
            made.append(sampler.draw(reader.logits(vision=False), generator))
            ended |= made[-1] == eos
    rows = torch.stack(made, dim=1).tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]


def _left_padded(prompt: Prompt, length: int) -> tuple[Tensor, Tensor]:
    missing = length - len(prompt.tokens)
    return (
        torch.nn.functional.pad(prompt.tokens, (missing, 0)),
        torch.nn.functional.pad(prompt.is_vision, (missing, 0)),
    )
