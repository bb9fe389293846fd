"""Generation with a cache against the same model read from the start for every token."""

from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.samplers import generation
from components.samplers.generation import Prompt, generate_frames, generate_text
from components.samplers.next_token import NextToken
from components.sequences.video_layout import VideoLayout
from components.vocabularies.one_table import OneTable
from components.vocabularies.two_tables import TwoTables

DIM, TEXT, CODES, PLACES, FRAMES = 16, 13, 11, 3, 4
LAYOUT = VideoLayout(codebook_size=CODES, num_special=3)
GREEDY = NextToken(temperature=0.0)
DTYPES = [torch.float64, torch.float32]


@pytest.fixture(params=[TwoTables, OneTable], ids=["two_tables", "one_table"])
def parts(request) -> tuple[CausalDecoder, nn.Module]:
    torch.manual_seed(0)
    decoder = CausalDecoder(dim=DIM, num_layers=2, num_heads=2, hidden_dim=24, rope=Rope())
    vocabulary = request.param(dim=DIM, text_size=TEXT, vision_size=LAYOUT.vocabulary_size)
    for parameter in [*decoder.parameters(), *vocabulary.parameters()]:  # far from first weights
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.6)
    return decoder.double(), vocabulary.double()


@pytest.fixture
def always_reordered(monkeypatch):
    """Weights in the layout for few rows, however few they are."""
    monkeypatch.setattr(generation, "WORTH_IT", 0)


def prompt(text: int, vision: int, seed: int = 0) -> Prompt:
    """Some text ids and, behind them, some codes."""
    generator = torch.Generator().manual_seed(100 * text + vision + seed)
    tokens = [torch.randint(n, (m,), generator=generator) for n, m in ((TEXT, text), (CODES, vision))]
    return Prompt(torch.cat(tokens), torch.arange(text + vision) >= text)


PROMPTS = [prompt(5, 0), prompt(1, 4), prompt(9, 2)]
LESS = [prompt(1, 0), prompt(1, 4), prompt(2, 2)]


def frames(parts, prompts=PROMPTS, less=LESS, sampler=GREEDY, seed=0, num_frames=FRAMES):
    generator = torch.Generator().manual_seed(seed)
    return generate_frames(*parts, LAYOUT, prompts, less, num_frames, PLACES, sampler, generator)


def written(parts, prompts, eos, *, num_tokens=8, sampler=GREEDY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return generate_text(*parts, prompts, num_tokens, eos, sampler, generator)


@torch.no_grad()
def next_logits(parts, tokens: list[int], is_vision: list[bool], *, vision: bool) -> Tensor:
    decoder, vocabulary = parts
    hidden = decoder(vocabulary.embed(torch.tensor([tokens]), torch.tensor([is_vision])))
    return vocabulary.logits(hidden[:, -1], vision=vision)


def frames_without_cache(parts, told: Prompt, less: Prompt, guidance: float) -> Tensor:
    """The likeliest codes, from full passes alone."""
    rows = [(one.tokens.tolist(), one.is_vision.tolist()) for one in (told, less)]
    codes = []
    for _ in range(FRAMES):
        for _ in range(PLACES):
            conditional, unconditional = (next_logits(parts, *row, vision=True)[:, :CODES] for row in rows)
            codes.append(int((unconditional + guidance * (conditional - unconditional)).argmax()))
            for tokens, is_vision in rows:
                tokens.append(codes[-1])
                is_vision.append(True)
        for tokens, is_vision in rows:
            tokens.append(LAYOUT.eof)
            is_vision.append(True)
    return torch.tensor(codes).view(FRAMES, PLACES)


@pytest.mark.parametrize("guidance", [1.0, 0.0, 2.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_equal_full_passes(parts, guidance, dtype, always_reordered):
    """For prompts of different lengths in one batch; float32 weights are read in their other layout."""
    parts = [part.to(dtype) for part in parts]
    found = torch.stack(list(frames(parts, sampler=NextToken(temperature=0.0, guidance=guidance))), dim=1)
    for row, told, less in zip(found, PROMPTS, LESS, strict=True):
        assert torch.equal(row, frames_without_cache(parts, told, less, guidance))
    assert len(found.unique()) > 3


def test_guidance_of_zero_makes_what_the_unconditional_prompts_make(parts):
    led = list(frames(parts, sampler=NextToken(temperature=0.0, guidance=0.0)))
    alone = list(frames(parts, prompts=LESS))
    assert all(torch.equal(a, b) for a, b in zip(led, alone, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_text_equals_full_passes(parts, dtype, always_reordered):
    parts = [part.to(dtype) for part in parts]
    expected = []
    for told in PROMPTS:
        tokens, is_vision = told.tokens.tolist(), told.is_vision.tolist()
        for _ in range(8):
            tokens.append(int(next_logits(parts, tokens, is_vision, vision=False).argmax()))
            is_vision.append(False)
        expected.append(tokens[-8:])
    nothing = TEXT  # an id that never comes
    assert written(parts, PROMPTS, nothing) == expected
    for eos in expected[0][3], expected[1][-1]:
        cut = [row[: row.index(eos)] if eos in row else row for row in expected]
        assert written(parts, PROMPTS, eos) == cut


def test_a_batch_of_prompts_is_its_prompts_one_by_one(parts):
    together = torch.stack(list(frames(parts)), dim=1)
    for row, told in zip(together, PROMPTS, strict=True):
        (alone,) = torch.stack(list(frames(parts, [told], [told])), dim=1)
        assert torch.equal(row, alone)
    texts = written(parts, PROMPTS, TEXT)
    assert texts == [written(parts, [told], TEXT)[0] for told in PROMPTS]


def test_a_delimiter_is_read_after_every_frame(parts, monkeypatch):
    _, vocabulary = parts
    read = []
    embed = vocabulary.embed

    def heard(tokens, is_vision):
        read.append(tokens)
        return embed(tokens, is_vision)

    monkeypatch.setattr(vocabulary, "embed", heard)
    made = torch.stack(list(frames(parts, PROMPTS[:1])), dim=1)
    assert torch.equal(read[0][0], PROMPTS[0].tokens)
    sequence = torch.cat([made, torch.full((1, FRAMES, 1), LAYOUT.eof)], dim=2).flatten(1)
    assert torch.equal(torch.cat(read[1:], dim=1), sequence[:, :-2])  # nothing follows from the last two


@pytest.mark.parametrize("sampler", [GREEDY, NextToken(temperature=3.0)])
def test_no_id_that_is_no_code_is_drawn(parts, sampler):
    _, vocabulary = parts
    table = vocabulary.vision if isinstance(vocabulary, TwoTables) else vocabulary.table
    with torch.no_grad():
        table.head.weight[-3:] *= 100  # the ids of the delimiters are by far the likeliest or unlikeliest
    made = torch.cat(list(frames(parts, sampler=sampler, num_frames=8)))
    assert 0 <= made.min() <= made.max() < CODES


def test_same_generator_same_result(parts):
    sampler = NextToken(temperature=2.0)
    first, again, other = (torch.stack(list(frames(parts, sampler=sampler, seed=s))) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    one, same, different = (written(parts, PROMPTS, TEXT, sampler=sampler, seed=s) for s in (1, 1, 2))
    assert one == same != different


def test_frames_come_one_by_one(parts):
    first = next(frames(parts, num_frames=1000))
    assert torch.equal(first, next(frames(parts)))
    assert list(frames(parts, num_frames=0)) == []


def test_an_abandoned_generator_leaves_the_weights_as_they_were(parts, always_reordered):
    parts = [part.float() for part in parts]
    layers = [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    begun = frames(parts)
    next(begun)
    assert all("forward" not in vars(layer) for layer in layers)
    parts[0](torch.randn(1, 3, DIM)).sum().backward()
    assert all(weight.grad is not None for weight in parts[0].parameters())
    begun.close()


def test_two_generators_in_turns_are_each_as_alone(parts, always_reordered):
    parts = [part.float() for part in parts]
    alone = list(frames(parts))
    turns = list(zip(frames(parts), frames(parts, prompts=LESS), strict=True))
    assert all(torch.equal(a, b) for a, (b, _) in zip(alone, turns, strict=True))


def test_weights_changed_between_frames_are_seen(parts, always_reordered):
    parts = [part.float() for part in parts]
    begun, unchanged = frames(parts, num_frames=9), torch.stack(list(frames(parts, num_frames=9)))
    made = list(islice(begun, 1))
    with torch.no_grad():
        parts[0].layers[0].feed_forward.down.weight.neg_()
    made += begun
    assert torch.equal(made[0], unchanged[0])
    assert not torch.equal(torch.stack(made), unchanged)


def test_codes_may_be_learned_from(parts):
    made = next(frames(parts))
    nn.Embedding(CODES, 2)(made).sum().backward()
