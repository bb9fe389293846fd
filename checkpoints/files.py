"""Checkpoints onto the disk: straight to their place, without a copy in memory or in the system's /tmp."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from checkpoints.own import read_checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's way to write and read checkpoints; a failed write raises OSError and leaves no file.

    The folder of a sharded run is read as a file would be.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except Exception as error:
            path.unlink(missing_ok=True)
            if (cause := disk_error(error)) is not None:  # torch hides it behind an error about its archive
                raise cause from error
            raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def disk_error(error: BaseException | None) -> OSError | None:
    """The operating system's error among the causes of another."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None
