"""Save so that a run can be killed at any moment and go on as if it had never stopped."""

import shutil
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from callbacks.failures import RunStopped
from callbacks.random_state import random_state, set_random_state
from checkpoints.own import checkpoints_in


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved. signal_name: SIGINT or SIGTERM."""

    def __init__(self, signal_name: str, step: int) -> None:
        super().__init__(f"{signal_name} at step {step}")
        self.signal_name, self.step = signal_name, step


class Checkpoint(LightningCheckpoint):
    """Write step_N.ckpt every so many steps, at Ctrl-C or SIGTERM, and at the end.

    A file is written under another name and renamed when it is whole. Random states of all processes are
    inside. Steps are batches: Lightning's own counter counts every optimizer's step.

    every: steps between checkpoints.
    keep: how many of the newest to keep.
    """

    def __init__(self, *, every: int = 500, keep: int = 2) -> None:
        self.every, self.keep = every, keep
        self._signal = 0
        self._handlers: dict[int, Any] = {}
        self._loaded: list[dict[str, Any]] | None = None

    def on_train_start(self, trainer: Trainer, model: LightningModule) -> None:
        if trainer.is_global_zero:
            for left in (Path(trainer.default_root_dir) / "checkpoints").glob("unfinished_*"):
                _remove(left)  # by a process that was killed while it wrote
        if self._loaded is not None and len(self._loaded) == trainer.world_size:
            set_random_state(self._loaded[trainer.global_rank])
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: stop at once, with what was last saved
        self._signal = number

    def on_train_batch_end(
        self, trainer: Trainer, model: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = batch_index + 1
        stop = bool(self._signal)
        if trainer.world_size > 1:  # all processes stop at the same step
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        last = step == trainer.num_training_batches
        if step % trainer.accumulate_grad_batches and not last:
            return  # gradients gathered so far are not in a checkpoint
        if stop or last or step % self.every < trainer.accumulate_grad_batches:
            self.save(trainer, step)
        if stop and not last:
            raise Interrupted(signal.Signals(self._signal or signal.SIGINT).name, step)

    def save(self, trainer: Trainer, step: int) -> None:
        folder = Path(trainer.default_root_dir) / "checkpoints"
        path = folder / f"step_{step:08d}.ckpt"
        unfinished = folder / f"unfinished_{step:08d}"
        try:
            trainer.save_checkpoint(unfinished)
        except OSError as error:
            _remove(unfinished)
            whole = checkpoints_in(folder.parent)
            last = f"the last one is {whole[-1]}" if whole else "there is none before it"
            told = f"checkpoint not saved, {error.strerror} in {folder}; {last}; make room"
            raise RunStopped(f"step {step}: {told}", resumable=True) from error
        if trainer.is_global_zero:
            if path.is_dir() or unfinished.is_dir():
                _remove(path)  # made before and broken since; a folder cannot be renamed onto another
            unfinished.replace(path)
            for old in sorted(folder.glob("step_*.ckpt"))[: -self.keep]:
                _remove(old)
        trainer.strategy.barrier()

    def on_save_checkpoint(
        self, trainer: Trainer, model: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = [random_state()]
        if trainer.world_size > 1:
            states = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(states, random_state())
        checkpoint["random_states"] = states

    def on_load_checkpoint(
        self, trainer: Trainer, model: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._loaded = checkpoint.get("random_states")

    def teardown(self, trainer: Trainer, model: LightningModule, stage: str) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _remove(path: Path) -> None:
    """Remove a checkpoint: one file, or a folder where processes save their shares, maybe by all of them."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
