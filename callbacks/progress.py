"""One line that says how a run is going."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import (
    BatchesProcessedColumn,
    CustomBarColumn,
    RichProgressBarTheme,
)
from rich import get_console
from rich.progress import TextColumn, TimeRemainingColumn

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 10.0
SHOWN = {  # what the line calls it: the name it is logged under and its format
    "loss": ("train/loss", ".4g"),
    "val/psnr": ("val/psnr", ".2f"),
    "frames/s": ("perf/frames_per_second", ".0f"),
}


class Progress(RichProgressBar):
    """Steps, loss, validation PSNR, frames per second and the time left.

    A moving bar in a terminal; elsewhere (a file, a pipe, CI) a plain line about every ten seconds.
    """

    def __init__(self) -> None:
        super().__init__(
            refresh_rate=4,
            leave=False,
            theme=RichProgressBarTheme(metrics="", metrics_text_delimiter="  "),
        )
        self._plain = False
        self._drawn = 0.0
        self._first: tuple[int, float] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if trainer.is_global_zero and not get_console().is_terminal:
            self._plain = True
            self.disable()

    def configure_columns(self, trainer: Trainer) -> list:
        return [
            TextColumn("{task.description}"),
            CustomBarColumn(bar_width=24),
            BatchesProcessedColumn(style=""),
            TimeRemainingColumn(compact=True),
        ]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        known = trainer.callback_metrics
        return {label: f"{float(known[name]):{fmt}}" for label, (name, fmt) in SHOWN.items() if name in known}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now, done, total = time.monotonic(), batch_idx + 1, self.total_train_batches
        if self._first is None:
            self._first = (batch_idx, now)
        # reading the metrics waits for the accelerator, so not after every batch
        if now - self._drawn < (PLAIN_SECONDS if self._plain else REFRESH_SECONDS) and done < total:
            return
        self._drawn = now
        if self._plain:
            self._print(f"step {done}/{total}", trainer, pl_module, left=self._left(done, total, now))
        else:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self._plain and not trainer.sanity_checking:
            self._print("validation", trainer, pl_module)

    def _left(self, done: int, total: float, now: float) -> str:
        assert self._first is not None
        start, began = self._first
        if done <= start + 1 or total == float("inf"):
            return ""
        seconds = round((now - began) / (done - start - 1) * (total - done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"

    def _print(self, title: str, trainer: Trainer, pl_module: LightningModule, left: str = "") -> None:
        metrics = [f"{label} {value}" for label, value in self.get_metrics(trainer, pl_module).items()]
        print("  ".join([title, *metrics, *([left] if left else [])]), flush=True)

    def _get_train_description(self, current_epoch: int) -> str:
        return "training  "
