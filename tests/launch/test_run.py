"""Runs as a user starts them: stopped by a signal, resumed, refused, swept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from launch import sweep
from launch.command import expand, parse
from launch.main import main
from tests.recipes.conftest import FEW

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["recipe=savp", *FEW, "~callbacks.rollouts", "~callbacks.throughput"]


def start(*tokens: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "train.py", *tokens],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number, code):
    run = tmp_path / "run"
    process = start(*SMALL, "trainer.max_steps=100000", "callbacks.checkpoint.every=100000", f"run_dir={run}")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 1/"):
            break
    time.sleep(1)
    process.send_signal(number)
    said = process.stdout.read()
    assert process.wait(timeout=60) == code
    assert f"continue:  python train.py resume={run}" in said
    assert "Traceback" not in said
    assert len(list((run / "train" / "checkpoints").glob("step_*.ckpt"))) == 1


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    from callbacks.checkpoint import Checkpoint

    tokens = [*SMALL, "trainer.max_steps=5", "callbacks.ema=ema", "loader.num_workers=0"]
    assert main([*tokens, f"run_dir={tmp_path / 'whole'}"]) == 0
    ordinary = Checkpoint.on_train_batch_end

    def interrupted_at_three(self, trainer, model, outputs, batch, batch_index):
        if batch_index == 2:
            self._on_signal(signal.SIGINT, None)
        ordinary(self, trainer, model, outputs, batch, batch_index)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "on_train_batch_end", interrupted_at_three)
        assert main([*tokens, f"run_dir={tmp_path / 'stopped'}"]) == 130
    assert main([f"resume={tmp_path / 'stopped'}"]) == 0
    whole, resumed = (
        load_file(tmp_path / name / "train" / "model" / "model.safetensors") for name in ("whole", "stopped")
    )
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_a_begun_run_is_not_overwritten(tmp_path, capsys):
    tokens = [*SMALL, "trainer.max_steps=1", f"run_dir={tmp_path / 'run'}"]
    assert main(tokens) == 0
    assert main(tokens) == 2
    assert "holds a run already; resume=" in capsys.readouterr().err


def test_what_the_data_lacks_is_one_line_and_the_folder_can_be_used_again(tmp_path, capsys):
    tokens = [*SMALL, "trainer.max_steps=1", f"run_dir={tmp_path / 'run'}"]
    assert main([*tokens, "data=videos", f"data.root={tmp_path / 'nowhere'}"]) == 2
    report = capsys.readouterr().err
    assert "no such file or folder" in report
    assert main(tokens) == 0


def test_a_size_that_does_not_fit_is_one_line(tmp_path, capsys):
    assert main([*SMALL, "clip.height=33", f"run_dir={tmp_path / 'run'}"]) == 2
    assert "model" in capsys.readouterr().err
    assert main([*SMALL, "clip.num_frames=2", "model.prior_discriminator.num_frames=4"]) == 2
    assert "nothing is left to predict" in capsys.readouterr().err


def test_a_sweep_runs_each_combination_once_and_shows_a_table(tmp_path, monkeypatch, capsys):
    calls = []

    def call(command: list[str]) -> int:
        calls.append(command)
        run = Path(next(token for token in command if token.startswith("run_dir=")).partition("=")[2])
        (run / "train").mkdir(parents=True)
        (run / "run.json").write_text('{"stages": ["train"]}')
        (run / "train" / "result.json").write_text('{"metrics": {"val/psnr": 20.5}}')
        return 0

    monkeypatch.setattr(sweep.subprocess, "call", call)
    runs = expand(parse(["recipe=savp", "seed=0,1", "optimizer.lr=1e-4,3e-4"]))
    assert sweep.run_sweep(runs, tmp_path) == 0
    assert sweep.run_sweep(runs, tmp_path) == 0
    assert len(calls) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("0     3e-4          20.5") == 2


def test_a_sample_is_written_three_ways(tmp_path, capsys):
    from launch.sample import main as sample

    assert main([*SMALL, "trainer.max_steps=1", f"run_dir={tmp_path / 'run'}"]) == 0
    assert sample([f"ckpt={tmp_path / 'run'}", f"out={tmp_path / 'out'}", "samples=2", "horizon=3"]) == 0
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".mp4", ".gif", ".png"}
    assert sample([f"ckpt={tmp_path / 'nothing'}", "horizn=3"]) == 2
    assert "did you mean horizon?" in capsys.readouterr().err
