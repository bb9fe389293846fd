"""What a finished run says to do next: the command that it names, when run, goes on from it."""

import shlex

from launch.main import main
from tests.recipes.conftest import begun
from tests.recipes.test_framepack import SMALL

QUIET = ["~callbacks.rollouts", "~callbacks.throughput"]


def test_each_stage_alone_names_the_next_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tokens = [*begun("framepack"), *SMALL, *QUIET, "stages.tokenizer.kept_in=null", "stage=tokenizer"]
    for number, stage in enumerate(("tokenizer", "cache", "model")):
        assert f"stage={stage}" in tokens
        assert main([*tokens, f"run_dir=run{number}"]) == 0
        *_, line = capsys.readouterr().out.strip().splitlines()
        if stage != "model":
            assert line.startswith("next:      python train.py ")
            tokens = shlex.split(line)[3:]
    assert any(token.startswith("weights=") and "run0" in token for token in tokens)
    assert "stages.model.cache.root=run1/latents" in tokens
    assert line == "sample:    python sample.py ckpt=run2"


def test_what_is_kept_needs_no_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tokens = [*begun("videoworld"), *QUIET, "stages.codes.callbacks.writer.train_clips=8", "threads=1"]
    for stage in ("tokenizer", "dynamics"):
        assert main([*tokens, f"stage={stage}", f"run_dir={stage}"]) == 0
        *_, line = capsys.readouterr().out.strip().splitlines()
        assert line.startswith("next:      python train.py ")
        assert not {"stage", "weights", "run_dir"} & {token.split("=")[0] for token in shlex.split(line)[3:]}
    assert main([*shlex.split(line)[3:], "run_dir=all"]) == 0
    out = capsys.readouterr().out
    assert out.count("trained before, with the same config on the same clips") == 2
    assert out.strip().endswith("sample:    python sample.py ckpt=all")


def test_a_folder_chosen_for_the_cache_is_the_one_that_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tokens = ["stage=cache", "callbacks.writer.root=mine", "run_dir=run"]
    assert main([*begun("framepack"), *SMALL, *QUIET, *tokens]) == 0
    out = capsys.readouterr().out
    assert "stages.model.cache.root=mine" in out
    assert "sample:" not in out
    assert "tensorboard" not in out
