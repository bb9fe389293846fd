"""Trained tokenizers are kept under a hash of what made them, and found again."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints.own import CONFIG, WEIGHTS
from launch import kept
from launch.command import parse
from launch.compose import compose
from launch.kept import content_hash, find_kept, keep
from launch.main import main
from launch.run import prepare
from tests.recipes.conftest import FEW

QUIET = ["~callbacks.rollouts", "~callbacks.throughput"]
SMALL = [
    *FEW, *QUIET, "trainer.max_steps=1", "tokenizer.channels=4", "model.decoder.num_layers=1",
    "model.decoder.dim=32",
]  # fmt: skip


def tokenizer_stage(*tokens: str) -> dict:
    stages, problems = compose(parse(["recipe=lwm", *tokens]))
    assert problems == []
    return prepare(stages["tokenizer"])


PLAIN = tokenizer_stage()


@pytest.mark.parametrize(
    "token",
    [
        "callbacks.checkpoint.every=3",
        "~callbacks.rollouts",
        "stages.tokenizer.kept_in=elsewhere",
        "threads=2",
        "trainer.log_every_n_steps=3",
        "trainer.val_check_interval=7",
        "stages.model.trainer.max_steps=3",
        "model.packing=naive",
        "model.decoder.dim=64",
    ],
)
def test_what_does_not_shape_the_weights_does_not_count(token):
    assert content_hash(tokenizer_stage(token)) == content_hash(PLAIN)


def test_the_run_folder_does_not_count():
    assert content_hash(tokenizer_stage("run_dir=here")) == content_hash(PLAIN)


def test_every_cause_counts():
    tokens = [
        "data=bouncing_balls", "data.size=0.14", "tokenizer.quantizer=fsq", "tokenizer.channels=4",
        "model.discriminator=image", "stages.tokenizer.trainer.max_steps=3", "trainer.precision=bf16-mixed",
        "seed=1", "loader.batch_size=3", "optimizer.lr=1e-3", "clip.num_frames=5", "callbacks.average=ema",
    ]  # fmt: skip
    hashes = {token: content_hash(tokenizer_stage(token)) for token in tokens} | {"": content_hash(PLAIN)}
    assert len(set(hashes.values())) == len(hashes)


@pytest.mark.parametrize("name", ["components/tokenizers/vqgan.py", "components/tokenizers/layers.py"])
def test_another_source_counts(name, monkeypatch):
    """Of the components, and of what they import."""
    before = content_hash(PLAIN)
    read, getsource = Path.read_text, kept.inspect.getsource
    monkeypatch.setattr(
        Path, "read_text", lambda self, *rest: read(self, *rest) + "\n# new" * str(self).endswith(name)
    )
    monkeypatch.setattr(
        kept.inspect,
        "getsource",
        lambda module: getsource(module) + "\n# new" * str(module.__file__).endswith(name),
    )
    assert content_hash(PLAIN) != before
    monkeypatch.undo()
    assert content_hash(PLAIN) == before


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / WEIGHTS).write_text("weights")
    (folder / CONFIG).write_text("{}")
    return folder


def test_what_is_kept_is_found(tmp_path, exported):
    config = deepcopy(PLAIN) | {"kept_in": str(tmp_path / "kept")}
    assert find_kept(config) is None
    folder = keep(config, exported)
    assert find_kept(config) == folder
    assert keep(config, exported) == folder
    assert [file.name for file in (tmp_path / "kept").iterdir()] == [folder.name]
    assert find_kept(config | {"seed": 5}) is None


def weights(folder, **tensors):
    made = {name.replace("_of_", "."): torch.tensor(value) for name, value in tensors.items()}
    save_file(made, folder / WEIGHTS)


def test_weights_before_and_a_cache_count_by_their_content(tmp_path, exported):
    part = next(name for name, value in PLAIN["model"].items() if isinstance(value, dict))
    weights(exported, **{f"{part}_of_a": 1.0})
    (tmp_path / "manifest.jsonl").write_text("a clip")
    cached = deepcopy(PLAIN) | {"cache": {"root": str(tmp_path)}}
    known = {content_hash(PLAIN), content_hash(PLAIN, [exported]), content_hash(cached, [exported])}
    (tmp_path / "manifest.jsonl").write_text("another clip")
    known |= {content_hash(cached, [exported])}
    weights(exported, **{f"{part}_of_a": 2.0})
    known |= {content_hash(cached, [exported]), content_hash(PLAIN, [exported])}
    assert len(known) == 6
    weights(exported, **{f"{part}_of_a": 2.0, "other_of_a": 3.0})  # the stage takes nothing of the other part
    assert content_hash(PLAIN, [exported]) in known
    weights(exported, **{f"{part}_of_b": 2.0})
    assert content_hash(PLAIN, [exported]) not in known


@pytest.mark.parametrize("left", [[], [CONFIG], [WEIGHTS]])
def test_a_half_written_folder_is_ignored_and_mended(tmp_path, exported, left):
    config = deepcopy(PLAIN) | {"kept_in": str(tmp_path / "kept")}
    folder = tmp_path / "kept" / content_hash(config)
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).write_text("half")
    assert find_kept(config) is None
    keep(config, exported)
    assert find_kept(config) == folder
    assert (folder / WEIGHTS).read_text() == "weights"


def test_leftovers_of_a_killed_run_are_in_nobodys_way(tmp_path, exported, monkeypatch):
    config = deepcopy(PLAIN) | {"kept_in": str(tmp_path / "kept")}
    monkeypatch.setattr("os.getpid", lambda: 7)
    left = tmp_path / "kept" / f"{content_hash(config)}.new7"
    left.mkdir(parents=True)
    (left / WEIGHTS).write_text("half")
    assert (keep(config, exported) / WEIGHTS).read_text() == "weights"


def test_a_second_run_takes_the_first_ones_tokenizer(tmp_path, capsys):
    def train(name: str, *tokens: str) -> str:
        places = [f"stages.tokenizer.kept_in={tmp_path / 'kept'}", f"run_dir={tmp_path / name}"]
        assert main(["recipe=lwm", *SMALL, *places, *tokens]) == 0
        return capsys.readouterr().out

    said = train("first")
    assert "kept for other runs in" in said
    assert "stage tokenizer: 1 steps" in said
    said = train("second", "model.packing=naive")
    (folder,) = (tmp_path / "kept").iterdir()
    assert "stage tokenizer: trained before, with the same config on the same clips" in said
    assert f"taken from {folder}" in said
    assert "stage tokenizer: 1 steps" not in said
    assert not (tmp_path / "second" / "tokenizer" / "checkpoints").exists()
    trained = load_file(folder / WEIGHTS)
    model = load_file(tmp_path / "second" / "model" / "model" / WEIGHTS)
    shared = [name for name in trained if name.startswith("tokenizer.")]
    assert len(shared) > 10
    assert all(trained[name].equal(model[name]) for name in shared)
    assert json.loads((folder / CONFIG).read_text())["stage"] == "tokenizer"
    assert load_file(tmp_path / "second" / "tokenizer" / "model" / WEIGHTS).keys() == trained.keys()
    assert main([f"resume={tmp_path / 'second'}"]) == 0
    assert capsys.readouterr().out.count("finished before, skipped") == 2
