"""What may befall a run: a loss that is no number, a full disk, a dead process, a bad checkpoint."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from callbacks.failures import RunStopped
from checkpoints.files import CheckpointFiles
from checkpoints.own import CheckpointError, checkpoints_in, read_checkpoint
from launch.failures import in_one_line
from launch.main import main
from launch.sample import main as sample
from recipes.savp.recipe import SAVP
from recipes.world_model import WorldModel
from tests.launch.test_run import ROOT, SMALL

FOUR = [*SMALL, "trainer.max_steps=4", "callbacks.checkpoint.every=1", "callbacks.checkpoint.keep=9"]


def saved(run: Path) -> list[str]:
    return [path.name for path in (run / "train" / "checkpoints").iterdir()]


def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path, monkeypatch, capsys):
    step = SAVP.training_step

    def nan_at_three(self, clip, batch_index):
        if batch_index == 2:
            self.weights = self.weights | {"reconstruction": float("nan")}
        step(self, clip, batch_index)

    monkeypatch.setattr(SAVP, "training_step", nan_at_three)
    run = tmp_path / "run"
    assert main([*FOUR, f"run_dir={run}"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "step 3: train/loss is nan; clips bouncing_balls/" in line
    assert f"last good checkpoint {run}/train/checkpoints/step_00000002.ckpt" in line
    assert sorted(saved(run)) == ["step_00000001.ckpt", "step_00000002.ckpt"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch, capsys):
    step = SAVP.training_step

    def overflow(self, clip, batch_index):
        step(self, clip, batch_index)
        next(self.generator.parameters()).data[0] = float("inf")

    monkeypatch.setattr(SAVP, "training_step", overflow)
    assert main([*FOUR, f"run_dir={tmp_path / 'run'}"]) == 1
    assert "is no longer finite though train/loss was (1 of" in capsys.readouterr().err
    assert not (tmp_path / "run" / "train" / "checkpoints").exists()


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch, capsys):
    """Saving fails at step 3, and then TensorBoard, too."""
    save = CheckpointFiles.save_checkpoint

    def full(self, checkpoint, path, storage_options=None):
        if Path(path).name == "unfinished_00000003":
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, checkpoint, path, storage_options)

    def finalize(self, status):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointFiles, "save_checkpoint", full)
        patched.setattr("lightning.pytorch.loggers.TensorBoardLogger.finalize", finalize)
        assert main([*FOUR, f"run_dir={run}"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "step 3: checkpoint not saved, No space left on device" in line
    assert f"python train.py resume={run}" in line
    assert sorted(saved(run)) == ["step_00000001.ckpt", "step_00000002.ckpt"]
    assert main([f"resume={run}"]) == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_file_that_does_not_fit_is_an_error_of_the_disk_and_leaves_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], stderr=subprocess.DEVNULL):
        pytest.skip("no tmpfs here")
    try:
        with pytest.raises(OSError, match="No space left") as caught:
            CheckpointFiles().save_checkpoint({"x": torch.zeros(10**6)}, disk / "step.ckpt")
        assert caught.value.errno == errno.ENOSPC
        assert list(disk.iterdir()) == []
    finally:
        subprocess.call(["umount", disk])


def test_only_what_the_user_can_mend_becomes_one_line(tmp_path):
    assert in_one_line(ValueError("a bug"), tmp_path) is None
    error = OSError(errno.ENOSPC, "No space left on device", "events")
    assert "No space left on device at events" in str(in_one_line(error, tmp_path))
    error.__context__ = RunStopped("step 3", resumable=False)
    assert in_one_line(error, tmp_path) == "step 3"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    assert main([*FOUR, "trainer.max_steps=2", f"run_dir={run}"]) == 0
    return run


@pytest.fixture
def stopped(finished, tmp_path) -> Path:
    """A run that stopped after its second step, before it could say that it is finished."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "train" / "result.json").unlink()
    shutil.rmtree(run / "train" / "model")
    return run


def plant(path: Path, touched: Path) -> None:
    class Planted:
        def __reduce__(self):
            return (Path.touch, (touched,))

    torch.save(torch.load(path, weights_only=True) | {"planted": Planted()}, path)


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(stopped, capsys):
    newest = checkpoints_in(stopped / "train")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert main([f"resume={stopped}"]) == 0
    said = capsys.readouterr().out
    assert f"warning: {newest}: not a readable checkpoint, perhaps cut short; trying the one before" in said
    assert read_checkpoint(newest)["state_dict"]  # step 2 was made again


def test_a_planted_object_is_refused_by_every_command(stopped, tmp_path, capsys):
    newest, touched = checkpoints_in(stopped / "train")[-1], tmp_path / "executed"
    plant(newest, touched)
    for command, tokens in (
        (main, [f"resume={stopped}"]),
        (main, [f"resume={newest}"]),
        (sample, [f"ckpt={newest}"]),
        (sample, [f"ckpt={stopped}"]),
    ):
        capsys.readouterr()
        assert command(tokens) == 2
        assert "refused, the file holds objects besides tensors and plain values" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="refused"):
        WorldModel.load(newest)
    assert not touched.exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_process_dies_the_others_end(tmp_path, rank):
    tokens = [
        *SMALL, "trainer.max_steps=100000", "callbacks.checkpoint.every=100000",
        f"run_dir={tmp_path / 'run'}",
        "trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp_find_unused_parameters_true",
    ]  # fmt: skip
    first = subprocess.Popen(
        [sys.executable, "train.py", *tokens], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    said = []
    for line in first.stdout:
        said.append(line)
        if line.startswith("step 1/"):
            break
    assert first.poll() is None, said
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    (second,) = (
        int(child) for child in children if b"train.py" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    killed = time.monotonic()
    os.kill([first.pid, second][rank], signal.SIGKILL)
    first.wait(timeout=60)
    while alive(second):
        assert time.monotonic() - killed < 60
        time.sleep(0.1)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
