"""Kill a run at random moments, resume it, and compare with the run that was never stopped, bit for bit.

    python -m tests.stress.kill_and_resume kills=20 processes=1 steps=12 seed=0

Each run has two data workers, averaged weights and two optimisers, and saves every second step. `kill -9`
comes at a random time after a random step, so also while a checkpoint is being written. What is compared is
the whole last checkpoint (weights, averages, optimisers, loader, random states) and the exported weights.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from checkpoints.own import checkpoints_in, read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
STEP_SECONDS = 0.6  # a kill comes up to this long after its step was seen on disk
OPTIONS = [
    "recipe=savp", "loader.batch_size=2", "loader.val_clips=2", "loader.num_workers=2", "callbacks.ema=ema",
    "~callbacks.rollouts", "~callbacks.throughput", "callbacks.checkpoint.every=2", "trainer.accelerator=cpu",
    "trainer.val_check_interval=6",
]  # fmt: skip


@dataclass
class Kill:
    """One kill and what came of it. different: places where the resumed run's last checkpoint differs."""

    after_step: int
    left: str
    seconds: float
    different: list[str]


def command(*tokens: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "train.py", *tokens],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {errors[-2000:]}")


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Places where two checkpoints differ; tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [path]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [path]
        return [place for key in one for place in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [path]
        pairs = zip(one, other, strict=True)
        return [p for i, (a, b) in enumerate(pairs) for p in differences(a, b, f"{path}[{i}]")]
    return [] if one == other else [path]


def compare(whole: Path, resumed: Path) -> list[str]:
    """Where the ends of two runs differ."""
    last = [read_checkpoint(checkpoints_in(run / "train")[-1]) for run in (whole, resumed)]
    weights = [load_file(run / "train" / "model" / "model.safetensors") for run in (whole, resumed)]
    return differences(*last) + differences(*weights, "model.safetensors")


def kill_once(run: Path, tokens: list[str], after_step: int, delay: float) -> str:
    """Start a run and kill it `delay` seconds after the checkpoint of a step; what it left, in words."""
    process = command(*tokens, f"run_dir={run}")
    folder = run / "train" / "checkpoints"
    while process.poll() is None and not (folder / f"step_{after_step:08d}.ckpt").is_file():
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if (run / "train" / "result.json").is_file():
        return "finished"
    found = checkpoints_in(run / "train")
    half = " and half a file" if any(folder.glob("unfinished_*")) else ""
    return (found[-1].stem if found else "nothing") + half


def stress(folder: Path, *, kills: int, processes: int, steps: int, seed: int) -> list[Kill]:
    """Run once without a stop, then kill and resume as often as asked."""
    tokens = [*OPTIONS, f"trainer.max_steps={steps}"]
    if processes > 1:
        tokens += [f"trainer.devices={processes}", "trainer.strategy=ddp_find_unused_parameters_true"]
    finish(command(*tokens, f"run_dir={folder / 'whole'}"))
    chance = random.Random(seed)
    outcomes = []
    for number in range(kills):
        run = folder / f"killed_{number}"
        after = chance.randrange(2, steps, 2)
        started = time.monotonic()
        left = kill_once(run, tokens, after, chance.uniform(0, STEP_SECONDS))
        finish(command(f"resume={run}"))
        outcomes.append(Kill(after, left, time.monotonic() - started, compare(folder / "whole", run)))
        print(row(number, outcomes[-1]), flush=True)
    return outcomes


def row(number: int, kill: Kill) -> str:
    verdict = "bit-equal" if not kill.different else f"differs at {', '.join(kill.different[:3])}"
    return f"{number + 1:>4}  {kill.after_step:>10}  {kill.left:<32}  {kill.seconds:>7.1f}  {verdict}"


def main(tokens: list[str]) -> int:
    options = {"kills": 20, "processes": 1, "steps": 12, "seed": 0}
    options |= {key: int(value) for key, value in (token.split("=") for token in tokens)}
    print(f"{'kill':>4}  {'after step':>10}  {'what it left':<32}  {'seconds':>7}  resumed to the end")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = stress(Path(folder), **options)
    equal = sum(not outcome.different for outcome in outcomes)
    print(f"{equal} of {len(outcomes)} bit-equal")
    return int(equal < len(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
