"""Exponential moving averages of the weights that train, sharded or not."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from checkpoints.sharded import local


class AveragedWeights(Callback):
    """Validate with, save and end with a moving average of the weights.

    The average begins with the weights after the first step. Weights that do not train have none; buffers
    that are numbers have one. Each process averages what it holds, in float32 or better, which Lightning's
    EMAWeightAveraging cannot: it copies the module, and sharded modules cannot be copied.

    A checkpoint has the averages in `state_dict`, and what trains beside them in `current_model_state`.

    decay: share of the old average that each step keeps.
    """

    def __init__(self, *, decay: float = 0.999) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {}  # none before the first step
        self._steps = 0  # of optimisers, as far as they are in the average

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps:
            return  # gradients are accumulated
        self._steps = trainer.global_step
        current = averaged(pl_module)
        if not self.averages:
            self.averages = {name: _precise(tensor) for name, tensor in current.items()}
        for name, tensor in current.items():
            average = local(self.averages[name])
            average.lerp_(local(tensor).to(average.dtype), 1 - self.decay)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for current, average in self._pairs(pl_module):
            current.copy_(average)

    def _swap(self, model: LightningModule) -> None:
        for current, average in self._pairs(model):
            kept = current.clone()
            current.copy_(average)
            average.copy_(kept)

    def _pairs(self, model: LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
        current = averaged(model)
        for name, average in self.averages.items():
            yield local(current[name]), local(average)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = state_dict["steps"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.averages:
            weights = checkpoint["state_dict"]
            checkpoint["current_model_state"] = {name: weights[name] for name in self.averages}
            checkpoint["state_dict"] = weights | self.averages

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if "current_model_state" in checkpoint:
            weights = checkpoint["state_dict"]
            self.averages = {name: _precise(weights[name]) for name in averaged(pl_module)}
            pl_module.load_state_dict(checkpoint["current_model_state"], strict=False)


def averaged(model: LightningModule) -> dict[str, Tensor]:
    """What an average is kept of: a model's weights that train, and its buffers that are numbers."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in frozen and tensor.is_floating_point()
    }


def _precise(tensor: Tensor) -> Tensor:
    """A copy in which a small step is not lost."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True)
