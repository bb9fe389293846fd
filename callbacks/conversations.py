"""What a model of video and language says about the same clips while it trains."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.seed import isolate_rng

from callbacks.rollouts import first_clips
from components.clip import Clip

SEED = 0  # the same noise every time


class Conversations(Callback):
    """After every validation, a table of questions, answers and truths in TensorBoard's text.

    The model has `converse(clip, generator)`: rows of what was asked, said and true. No random state changes.
    Every process asks, as sharded weights need them all; the first one writes.
    """

    def __init__(self, *, clips: int = 4) -> None:
        self.clips = clips
        self._batches: list[Clip] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        rows: list[tuple[str, str, str]] = []
        with isolate_rng(), torch.no_grad():
            self._batches = self._batches or first_clips(trainer, self.clips)
            generator = torch.Generator(pl_module.device).manual_seed(SEED)
            for batch in self._batches:
                batch = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
                rows += pl_module.converse(batch, generator)
        if not rows or not trainer.is_global_zero:
            return
        table = "\n".join(f"| {asked} | {said} | {true} |" for asked, said, true in rows)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                head = "| asked | said | true |\n|---|---|---|\n"
                logger.experiment.add_text("conversations", head + table, trainer.global_step)
