"""Stop a run whose loss is no longer a number, before that reaches a checkpoint."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.failures import RunStopped
from checkpoints.own import checkpoints_in
from checkpoints.sharded import local

_NAMED = 8  # clips that the message names before it says how many more
_ADVICE = (
    "resumed, it meets the same batch: look at these clips, lower optimizer.lr, or set trainer.precision"
)


class FiniteLoss(Callback):
    """Stop at a train/loss that is NaN or infinite: step, clips of the batch, last good checkpoint.

    The loss is looked at after every step on a CPU; on an accelerator, where looking waits for the step to
    end, every `every` steps, and then at each step since. Before a checkpoint is written, the steps since the
    last look and all weights are looked at, so that a saved file is always a good one. Processes look
    together and stop together.

    every: steps between two looks at an accelerator's losses.
    """

    def __init__(self, *, every: int = 10) -> None:
        self.every = every
        self._losses: list[tuple[int, list[str], Tensor]] = []  # step, clips, loss; since the last look
        self._last: tuple[int, list[str]] = (0, [])

    def on_train_batch_end(
        self, trainer: Trainer, model: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        loss = trainer.callback_metrics.get("train/loss")
        self._last = (batch_index + 1, list(batch.get("id", [])))
        if loss is not None:
            self._losses.append((*self._last, loss.detach().clone()))
        if model.device.type == "cpu" or (batch_index + 1) % self.every == 0:
            self._stop_together(trainer, self._bad_loss())

    def on_save_checkpoint(
        self, trainer: Trainer, model: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._stop_together(trainer, self._bad_loss() or self._bad_weights(model))

    def _bad_loss(self) -> str | None:
        """The first loss since the last look that is not finite, in words."""
        seen, self._losses = self._losses, []
        values = torch.stack([loss.float() for _, _, loss in seen]).tolist() if seen else []
        for (step, clips, _), value in zip(seen, values, strict=True):
            if not math.isfinite(value):
                return f"step {step}: train/loss is {value}; clips {_listed(clips)}"
        return None

    def _bad_weights(self, model: LightningModule) -> str | None:
        held = [(name, local(weight.detach())) for name, weight in model.named_parameters()]
        named = [(name, weight) for name, weight in held if weight.numel()]
        if not named:
            return None
        finite = torch.stack([weight.isfinite().all() for _, weight in named]).tolist()
        bad = [name for (name, _), fine in zip(named, finite, strict=True) if not fine]
        if not bad:
            return None
        step, clips = self._last
        told = f"{bad[0]} is no longer finite though train/loss was ({len(bad)} of {len(named)} weights)"
        return f"step {step}: {told}; clips {_listed(clips)}"

    def _stop_together(self, trainer: Trainer, found: str | None) -> None:
        if trainer.world_size > 1:
            if not trainer.strategy.reduce_boolean_decision(found is not None, all=False):
                return
            everywhere: list[str | None] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everywhere, found)
            found = next(line for line in everywhere if line is not None)
        if found is not None:
            good = checkpoints_in(Path(trainer.default_root_dir))
            last = f"last good checkpoint {good[-1]}" if good else "no checkpoint yet"
            raise RunStopped(f"{found}; {last}; {_ADVICE}", resumable=False)


def _listed(clips: list[str]) -> str:
    more = f" and {len(clips) - _NAMED} more" if len(clips) > _NAMED else ""
    return (", ".join(clips[:_NAMED]) or "without ids") + more
