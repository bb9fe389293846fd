"""Stage: what every training of a recipe promises, be it a world model or a part of one."""

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from checkpoints.own import Change
from components.clip import Clip, ClipSpec, clip_size
from components.context_parallel import data_place
from components.randomness import ClipRandom


class Stage(LightningModule):
    """A module that the launcher trains on clips.

    seed: of all noise drawn in training and validation.
    context_frames: frames of a clip that `show` gives away as known.
    trains: False for a stage that only makes something of clips, in `predict_step`.
    loaded_from: the file that its weights are of, None where they are not of a file.
    sharded_calls: methods of parts, beside the call itself, that use their weights: trainer.strategy=fsdp
        puts a part's weights together for these and the call.
    """

    context_frames = 0
    trains = True
    loaded_from: Path | None = None
    sharded_calls: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def configure_model(self) -> None:
        """Share the weights out where the strategy says so."""
        if self.trains and self.device_mesh is not None:
            from recipes.sharding import shard

            mesh = self.device_mesh["data_parallel"]
            shard(self, mesh, self.trainer.precision, self.sharded_calls)

    def check_fits(self, spec: ClipSpec) -> None:
        """Raise ValueError, in one line for the user, if clips of these shapes cannot train this model."""

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Whole videos to look at, (b, t, 3, h, w) in [0, 1] or uint8, by their labels; the truth first."""
        raise NotImplementedError

    def typical_step(self, clip: Clip) -> Tensor | None:
        """A training step whose operations do not depend on the clip's content, to count their cost."""
        return self.training_step(clip, 0)

    def with_initial_rate(self, optimizers: list[Optimizer]) -> list[Optimizer]:
        """Optimisers that remember the learning rate they were made with, for `set_learning_rate`."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        return optimizers

    def set_learning_rate(self, factor: float) -> None:
        """Give every optimiser this share of its first learning rate, and log the first one's."""
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        self.log("optim/lr", optimizers[0].param_groups[0]["lr"])

    def steps_taken(self, batch_index: int) -> int:
        """Optimiser steps before this batch: with accumulated gradients, fewer than batches."""
        trainer = self._trainer
        return batch_index // (trainer.accumulate_grad_batches if trainer is not None else 1)

    def random(self, clip: Clip, step: int) -> ClipRandom:
        """Randomness for one training step over this process's share of the global batch.

        Batches whose gradients are accumulated are parts of one global batch and draw what it would draw.
        """
        trainer = self._trainer
        step, part = divmod(step, trainer.accumulate_grad_batches if trainer is not None else 1)
        rank, processes = data_place(trainer)
        size = clip_size(clip)
        first = (part * processes + rank) * size
        return ClipRandom(self.seed, step, first=first, size=size, device=self.device)

    def log_validation(self, name: str, values: Float[Tensor, "..."], *, bar: bool = False) -> None:
        self.log(f"val/{name}", values.mean(), batch_size=len(values), sync_dist=True, prog_bar=bar)

    def remember(self, config: dict[str, Any]) -> None:
        """Keep the config that built this model; every checkpoint carries it."""
        self.save_hyperparameters(config, logger=False)

    @classmethod
    def load(cls, path: str | Path, change: Change | None = None) -> Self:
        """A trained model from a run folder, a checkpoint or an exported folder, ready to use.

        change: of its config, before it is built.
        Raises:
            CheckpointError: one line: what is missing or broken, and where.
        """
        from checkpoints.own import CheckpointError, find_weights, load_model

        weights = find_weights(Path(path))
        model = load_model(weights, change)
        model.loaded_from = weights
        if not isinstance(model, cls):
            raise CheckpointError(f"{path}: holds a {type(model).__name__}, which is no {cls.__name__}")
        return model.eval()
