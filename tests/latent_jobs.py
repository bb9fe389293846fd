"""Caching jobs as the launcher runs them, in this process or in one that is killed."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import lightning
from torch import nn

from callbacks.latent_writer import LatentWriter
from datamodules import ClipSource
from datamodules.loader import ClipDataModule
from recipes.latent_caching import LatentCaching


def fill(
    root: Path,
    source: ClipSource,
    tokenizer: nn.Module,
    text_encoder: nn.Module | None = None,
    *,
    processes: int = 1,
    batch_size: int = 4,
    val_clips: int = 6,
    train_clips: int | None = 30,
    dtype: Any = "float32",
    **trainer: Any,
) -> None:
    """Cache a source's clips."""
    data = ClipDataModule(
        source=source, batch_size=batch_size, num_batches=1, val_clips=val_clips, num_workers=0, seed=0
    )
    module = LatentCaching(tokenizer=tokenizer, text_encoder=text_encoder, dtype=dtype, seed=0)
    lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="auto" if processes == 1 else "ddp_fork",
        callbacks=[LatentWriter(root=str(root), train_clips=train_clips, clips_per_shard=8)],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer,
    ).predict(module, datamodule=data, return_predictions=False)


def killed(number: int, patched: Any, *arguments: Any, **options: Any) -> None:
    """Run `fill` in a process that is killed in the number-th call of os.`patched`."""

    def job() -> None:
        calls, real = [], getattr(os, patched)

        def deadly(*given: Any) -> Any:
            calls.append(given)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given)

        setattr(os, patched, deadly)
        fill(*arguments, **options)

    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
