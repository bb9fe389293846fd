from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.sequences import Example, Layout
from components.sequences.grammar import Grammar, parse
from components.sequences.video_layout import VideoLayout
from components.text_tokenizers.bytes import ByteTokenizer

TEXT = ByteTokenizer()
LAYOUT = VideoLayout(codebook_size=10, num_special=4)


def codes(frames: int, size: int, codebook_size: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(codebook_size, (frames, size), generator=generator)


def test_layout_of_lwm():
    layout = VideoLayout(codebook_size=8192)
    assert isinstance(layout, Layout)
    assert (layout.vocabulary_size, layout.eof, layout.eov) == (8448, 8192, 8193)
    assert layout.frame_tokens(256) == 257
    video = codes(30, 256, 8192)
    tokens = layout.tokens_of(video)
    assert len(tokens) == 30 * 257
    delimiters = (tokens >= 8192).nonzero().flatten()
    assert delimiters.tolist() == [256 + 257 * k for k in range(30)]
    assert tokens[delimiters].tolist() == [8192] * 29 + [8193]
    assert torch.equal(layout.codes_of(tokens), video)


@given(frames=st.integers(1, 6), size=st.integers(1, 5))
def test_codes_make_the_round_trip(frames: int, size: int):
    tokens = LAYOUT.tokens_of(codes(frames, size))
    assert tokens[-1] == LAYOUT.eov
    assert torch.equal(LAYOUT.codes_of(tokens), codes(frames, size))
    tokens[-1] = LAYOUT.eof  # as LWM's sampler leaves it
    assert torch.equal(LAYOUT.codes_of(tokens), codes(frames, size))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "must end with eov"),
        ([1, 2, 10, 1, 2], "the last frame is cut"),
        ([11], r"of one size, at least 1; here are \[0\]"),
        ([1, 2, 10, 1, 11], r"of one size, at least 1; here are \[1, 2\]"),
        ([1, 10, 10, 11], r"here are \[0, 1\]"),
        ([1, 2, 11, 1, 2, 11], r"eov \(11\) stands inside"),
        ([1, 12, 11], "code 12 lies outside of the codebook; codes are 0 to 9"),
        ([1, -3, 11], "code -3 lies outside"),
    ],
)
def test_layout_refuses_other_tokens(tokens: list[int], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        LAYOUT.codes_of(torch.tensor(tokens, dtype=torch.long))
    assert "\n" not in str(caught.value)


def test_layout_refuses_other_codes():
    with pytest.raises(ValueError, match="code 10 lies outside"):
        LAYOUT.tokens_of(torch.tensor([[1, 10]]))
    with pytest.raises(ValueError, match="hold no frame"):
        LAYOUT.tokens_of(torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="set num_special to 2 or more"):
        VideoLayout(codebook_size=10, num_special=1)


def grammar(fields: str | list[str], **options: Any) -> Grammar:
    return Grammar(fields=fields, text_tokenizer=TEXT, layout=LAYOUT, **options)


def spelled(example: Example) -> list[tuple[str, float]]:
    """Runs of an example in words: text as it reads, vision ids as numbers, each with its loss."""
    names = {TEXT.bos: "^", TEXT.eos: "$"}
    found: list[tuple[str, float]] = []
    for token, is_vision, loss in zip(*(column.tolist() for column in example), strict=True):
        piece = f" {token}" if is_vision else names.get(token, chr(token % 256))
        if found and found[-1][1] == loss:
            found[-1] = found[-1][0] + piece, loss
        else:
            found.append((piece, loss))
    return found


RECORD = {
    "instruction": "make",
    "text": "a ball",
    "answer": "red",
    "vision": [[1, 2], [3, 4]],
    "vision_after": torch.tensor([[[5], [6]]]),
}
VIDEO = "<vision> 1 2 10 3 4 11</vision>"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("text", [("^", 0), ("a ball$", 1)]),
        ("instruction,text", [("^", 0), ("makea ball$", 1)]),
        ("instruction+text", [("^", 0), ("make a ball$", 1)]),
        ("instruction, text", [("^", 0), ("makea ball$", 1)]),
        ("[instruction+text],vision", [("^make a ball", 0), (VIDEO + "$", 1)]),
        ("[instruction],text,[answer]", [("^make", 0), ("a ball", 1), ("red", 0), ("$", 1)]),
        ("[vision],answer", [("^" + VIDEO, 0), ("red$", 1)]),
        ("vision", [("^", 0), (VIDEO + "$", 1)]),
        ("vision,vision_after", [("^", 0), (VIDEO + "<vision> 5 6 11</vision>$", 1)]),
        ("text,<|eos|>,<|bos|>,answer", [("^", 0), ("a ball$^red$", 1)]),
        ("text,[<|eos|>],answer", [("^", 0), ("a ball", 1), ("$", 0), ("red$", 1)]),
    ],
)
def test_every_rule_of_the_grammar(fields: str, expected: list[tuple[str, float]]):
    example = grammar(fields)(RECORD, 0)
    assert spelled(example) == expected
    assert example.is_vision.dtype == torch.bool
    assert len(example.tokens) == len(example.is_vision) == len(example.loss)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "has an empty name"),
        ("text,", "has an empty name"),
        ("text+", "has an empty name"),
        ("[]", "has an empty name"),
        ("[text,answer]", "a bracket too many"),
        ("[[text]]", "a bracket too many"),
        ("text+[answer]", "a bracket too many"),
        ("<|pad|>", "no special id"),
        ("text+<|eos|>", "no special id"),
        ("text+vision", "joins codes with text; put a comma between them"),
    ],
)
def test_the_grammar_refuses_the_rest(fields: str, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        parse(fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "record", "message"),
    [
        ("text,mood", RECORD, "line 3, field mood: the record has no mood; it has instruction, text"),
        ("text", {"text": [1, 2]}, "text must be a text, not list; codes need `vision` in their name"),
        ("vision", {"vision": [[1, 2], [3]]}, "the same number for each frame"),
        ("vision", {"vision": "1 2"}, "codes must be whole numbers"),
        ("vision", {"vision": [[0.5]]}, "codes must be whole numbers"),
        ("vision", {"vision": []}, "codes must be whole numbers, at least one"),
        ("vision", {"vision": [[1, 10]]}, "line 3, field vision: code 10 lies outside"),
        ("vision", {"vision": [1, 2, 3, 4]}, "set codes_per_frame"),
    ],
)
def test_a_record_that_does_not_fit(fields: str, record: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        grammar(fields)(record, 3)
    assert "\n" not in str(caught.value)


def test_codes_come_flat_or_as_a_grid():
    flat, rows, grid = [1, 2, 3, 4], [[1, 2], [3, 4]], torch.tensor([[[1], [2]], [[3], [4]]])
    read = grammar("vision", codes_per_frame=2)
    expected = read({"vision": rows}, 0).tokens
    assert torch.equal(read({"vision": flat}, 0).tokens, expected)
    assert torch.equal(read({"vision": grid.to(torch.int16)}, 0).tokens, expected)
    with pytest.raises(ValueError, match="3 codes in a flat list are no whole number of frames"):
        read({"vision": [1, 2, 3]}, 0)


def test_tokens_of_a_long_clip():
    text, layout = TEXT, VideoLayout(codebook_size=8192)
    read = Grammar(fields="vision", text_tokenizer=text, layout=layout)
    example = read({"vision": codes(30, 256, 8192)}, 0)
    delimiters = len(text.encode("<vision></vision>"))
    assert len(example.tokens) == 257 * 30 + delimiters + 2
    assert int(example.is_vision.sum()) == 257 * 30


ALTERNATIVES = ["[text],vision", "[vision],text", "vision"]


def test_alternatives_follow_the_line_alone():
    one, other = grammar(ALTERNATIVES, seed=1), grammar(ALTERNATIVES, seed=1)
    lines = range(1800)
    orders = [tuple(spelled(one(RECORD, line))) for line in lines]
    backwards = [tuple(spelled(other(RECORD, line))) for line in reversed(lines)]
    assert orders == backwards[::-1]
    counts = Counter(orders)
    assert len(counts) == 3
    assert all(abs(count - 600) < 90 for count in counts.values())
    pairs = Counter(pairwise(orders))  # neighbours do not depend on each other
    assert len(pairs) == 9
    assert all(abs(count - 200) < 70 for count in pairs.values())
    third = grammar(ALTERNATIVES, seed=2)
    assert orders[:50] != [tuple(spelled(third(RECORD, line))) for line in range(50)]


@given(frames=st.integers(1, 300), kept=st.integers(1, 40))
def test_frames_are_kept_evenly(frames: int, kept: int):
    layout = VideoLayout(codebook_size=300)
    read = Grammar(fields="vision", text_tokenizer=TEXT, layout=layout, max_n_frames=kept)
    example = read({"vision": torch.arange(frames)[:, None]}, 0)
    found = layout.codes_of(example.tokens[example.is_vision])[:, 0]
    if frames <= kept:
        expected = np.arange(frames)
    else:
        expected = np.floor(np.linspace(0, frames - 1, kept) + 1e-9).astype(int)
    assert found.tolist() == expected.tolist()


def test_grammar_refuses_empty_settings():
    with pytest.raises(ValueError, match="at least one sequence of fields"):
        grammar([])
    with pytest.raises(ValueError, match="a video keeps at least 1 frame"):
        grammar("vision", max_n_frames=0)
