import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.text_tokenizers import TextTokenizer
from components.text_tokenizers.bytes import ByteTokenizer
from components.text_tokenizers.pretrained import PretrainedTokenizer

BYTES = ByteTokenizer()


@given(st.text())
def test_bytes_round_trip(text: str):
    ids = BYTES.encode(text)
    assert all(0 <= i < 256 for i in ids)
    assert BYTES.decode(ids) == text
    assert BYTES.decode([BYTES.bos, *ids, BYTES.eos, BYTES.pad]) == text


@given(st.lists(st.integers(-5, 400)))
def test_bytes_decode_whatever_was_sampled(ids: list[int]):
    assert isinstance(BYTES.decode(ids), str)


@given(st.text(st.characters(), max_size=5))  # with halves of surrogate pairs
def test_bytes_encode_whatever_is_a_string(text: str):
    assert all(0 <= i < 256 for i in BYTES.encode(text))


def test_bytes():
    assert isinstance(BYTES, TextTokenizer)
    assert BYTES.vocabulary_size == 259
    assert sorted((BYTES.bos, BYTES.eos, BYTES.pad)) == [256, 257, 258]
    assert BYTES.encode("é") == [0xC3, 0xA9]
    assert BYTES.decode([0xC3]) == "�"
    assert BYTES.encode("\ud800") == [ord("?")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BPE with bos and eos, which adds bos to every text it is given bare."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer, model.decoder = byte_level, tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(["a red ball moves to the left"] * 4, trainer)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    assert whole("red").input_ids[0] == whole.bos_token_id
    whole.save_pretrained(folder)
    return folder


def test_pretrained_adds_no_special_ids(folder: Path):
    tokenizer = PretrainedTokenizer(path=str(folder))
    assert isinstance(tokenizer, TextTokenizer)
    assert (tokenizer.bos, tokenizer.eos) == (1, 2)
    for text in ("a red ball", "", "a</s> b<s>", "<vision>", "\ud800"):
        ids = tokenizer.encode(text)
        assert {tokenizer.bos, tokenizer.eos}.isdisjoint(ids)
        assert all(0 <= i < tokenizer.vocabulary_size for i in ids)
    assert tokenizer.encode("") == []


@pytest.fixture(scope="module")
def pretrained(folder: Path) -> PretrainedTokenizer:
    return PretrainedTokenizer(path=str(folder))


@given(text=st.text())
def test_pretrained_round_trip(pretrained: PretrainedTokenizer, text: str):
    assert pretrained.decode(pretrained.encode(text)) == text


@given(ids=st.lists(st.integers(-5, 400)))
def test_pretrained_decodes_whatever_was_sampled(pretrained: PretrainedTokenizer, ids: list[int]):
    assert isinstance(pretrained.decode(ids), str)


def test_pretrained_says_nothing_about_long_texts(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    short = shutil.copytree(folder, tmp_path / "short")
    config = short / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 16}))
    assert len(PretrainedTokenizer(path=str(short)).encode("x " * 100)) > 16
    assert not caplog.records


def test_pretrained_says_what_is_wrong_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="transformers loads no tokenizer from it") as caught:
            PretrainedTokenizer(path=str(path))
        assert "\n" not in str(caught.value)
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<s>": 1}, unk_token="a"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="the tokenizer has no eos token"):
        PretrainedTokenizer(path=str(tmp_path))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="pip install transformers"):
        PretrainedTokenizer(path=str(tmp_path))


def test_a_given_vocabulary_needs_no_files_until_a_text_is_met(folder: Path, tmp_path: Path):
    lazy = PretrainedTokenizer(path=str(tmp_path / "nowhere"), vocabulary_size=32)
    assert lazy.vocabulary_size == 32
    with pytest.raises(ValueError, match="transformers loads no tokenizer from it"):
        lazy.encode("a")
    whole = PretrainedTokenizer(path=str(folder))
    padded = PretrainedTokenizer(path=str(folder), vocabulary_size=whole.vocabulary_size + 7)
    assert (padded.bos, padded.eos, padded.vocabulary_size) == (1, 2, whole.vocabulary_size + 7)
    assert padded.decode([*padded.encode("a red ball"), whole.vocabulary_size + 3]) == "a red ball"
    few = PretrainedTokenizer(path=str(folder), vocabulary_size=5)
    with pytest.raises(ValueError, match="ids, the model's table 5; give the tokenizer"):
        few.encode("a")
