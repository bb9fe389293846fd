"""Runs of a small stand-in stage, one after the other: `python -m tests.recipes.sharded_runs '[RUN, ...]'`.

A run is [folder, resume, changes]: where to write, a checkpoint to go on from or null, and dotted keys of the
config. It begins when that checkpoint is there. `start` begins a group of processes.
"""

import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from components.clip import Clip
from launch.command import parse
from launch.compose import compose
from launch.overrides import overlay
from launch.run import prepare, run_stage
from recipes.stage import Stage
from recipes.world_model import pixels
from tests import processes as group

PATIENCE = 120.0  # seconds
SIZE = 7  # odd, so that shares differ in length


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(SIZE)
        self.to_q, self.to_out = nn.Linear(SIZE, 2 * SIZE), nn.Linear(2 * SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.to_out(F.gelu(self.to_q(self.norm(x))))


class Net(nn.Module):
    """Two blocks between an embedding and a head; scale is shorter than there are processes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers = nn.Linear(SIZE, SIZE), nn.ModuleList(Block() for _ in range(2))
        self.head, self.scale = nn.Linear(SIZE, SIZE), nn.Parameter(torch.ones(1))
        self.register_buffer("spread", torch.full((SIZE,), 1.1))

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def patch_layers(self) -> list[nn.Module]:
        return [self.embed]

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x / self.spread)
        for block in self.layers:
            x = block(x)
        return self.scale * self.head(x)

    def readout(self, x: Tensor) -> Tensor:
        return self.head(x)


class StandIn(Stage):
    """Predict noise in a few numbers of a clip; `frozen` stands for a tokenizer.

    finetuned: train additions of rank 2, and the patch layers.
    """

    sharded_calls = {"net": ("readout",)}  # noqa: RUF012  (as recipes write it)

    def __init__(self, *, optimizer: Callable[..., Optimizer], finetuned: bool, seed: int) -> None:
        super().__init__(seed=seed)
        self.frozen = nn.Linear(3, SIZE).requires_grad_(False)
        self.net = Net()
        if finetuned:
            from components.finetuning.lora import Lora

            Lora(rank=2, alpha=4.0, targets=["to_q", "to_out"]).prepare(self.net)
        self.optimizer = optimizer

    def noised(self, clip: Clip, random: Any) -> tuple[Tensor, Tensor]:
        x = self.frozen(pixels(clip["video"]).mean(dim=(1, 3, 4)))
        noise = random.normal(SIZE)
        return x + noise, noise

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        x, noise = self.noised(clip, self.random(clip, batch_index))
        loss = F.mse_loss(self.net(x), noise) + 0.1 * F.mse_loss(self.net.readout(x), noise)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        x = self.frozen(pixels(clip["video"]).mean(dim=(1, 3, 4)))
        self.log_validation("output", self.net(x).mean(dim=1))

    def configure_optimizers(self) -> list[Optimizer]:
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        return self.with_initial_rate([self.optimizer(weights)])


def config(**changes: Any) -> dict[str, Any]:
    """Of four steps with averaged weights and a checkpoint after two."""
    stages, problems = compose(parse(["recipe=savp"]))
    assert problems == []
    (raw,) = stages.values()
    groups = ("recipe", "size", "stage", "seed", "threads", "clip", "data", "loader", "trainer", "callbacks")
    raw = {group: raw[group] for group in groups}
    kept = {name: raw["callbacks"][name] for name in ("checkpoint", "finite_loss")}
    kept["checkpoint"] |= {"every": 2, "keep": 9}
    kept["ema"] = {"_component_": "callbacks.averaged_weights.AveragedWeights", "decay": 0.7}
    raw["callbacks"] = kept
    raw["model"] = {
        "_component_": "tests.recipes.sharded_runs.StandIn",
        "optimizer": {"_component_": "torch.optim.AdamW", "lr": 0.03},
        "finetuned": False,
        "seed": 3,
    }
    overlay(
        raw,
        {
            "loader.batch_size": 4, "loader.val_clips": 4, "trainer.max_steps": 4,
            "trainer.accelerator": "cpu", "trainer.val_check_interval": 2, "trainer.gradient_clip_val": 0.5,
            "trainer.log_every_n_steps": 1,
            "trainer.enable_progress_bar": False,
        },
    )  # fmt: skip
    overlay(raw, changes)
    prepare(raw)
    return raw


Run = tuple[Path, Path | None, dict[str, Any]]


def start(runs: list[Run], processes: int) -> list[subprocess.Popen]:
    return group.start(["-m", "tests.recipes.sharded_runs", json.dumps(runs, default=str)], processes)


def main(runs: list[Run]) -> None:
    for folder, resume, changes in runs:
        begun = time.monotonic()
        while resume is not None and not resume.exists():
            if time.monotonic() - begun > PATIENCE:
                raise TimeoutError(f"{resume} never came")
            time.sleep(0.05)
        run_stage(config(**changes), folder, resume=resume, weights=[], say=lambda line: None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    main([(Path(folder), Path(old) if old else None, new) for folder, old, new in json.loads(sys.argv[1])])
