"""Rollouts of fixed validation clips while a model trains: what the curves cannot show."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.seed import isolate_rng

from components import media
from components.clip import Clip, clip_size

SEED = 0  # the same noise every time, so that two steps differ by the model alone


class Rollouts(Callback):
    """Every `every` training steps and at the end, show what the model makes of the same clips.

    Truth and samples move side by side, frames the model was given framed green and its own red: as a GIF
    in TensorBoard's images, as a film strip, and as files in `rollouts/` of the run folder.
    The model has `context_frames` and `show(clip, samples, generator)`. Neither its modes nor any
    random state changes. Every process predicts, as sharded weights need them all; the first one writes.
    """

    def __init__(self, *, every: int, clips: int = 4, samples: int = 2, fps: float | None = None) -> None:
        self.every = every
        self.clips = clips
        self.samples = samples
        self.fps = fps  # None: as the clips say
        self._batches: list[Clip] = []
        self._step = 0
        self._shown = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Clip, batch_idx: int
    ) -> None:
        self._step = batch_idx + 1
        if self._step % self.every == 0:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._step > self._shown:
            self._show(trainer, pl_module)

    def _show(self, trainer: Trainer, model: LightningModule) -> None:
        self._shown = self._step
        modes = {module: module.training for module in model.modules()}
        with isolate_rng(), torch.no_grad():
            self._batches = self._batches or first_clips(trainer, self.clips)
            model.eval()
            generator = torch.Generator(model.device).manual_seed(SEED)
            shown = [self._predict(model, batch, generator) for batch in self._batches]
        for module, training in modes.items():
            module.training = training
        folder = (
            Path(trainer.log_dir or trainer.default_root_dir) / "rollouts"
        )  # asked by all processes together
        if trainer.is_global_zero and shown:
            self._write(trainer, folder, [clip for clips in shown for clip in clips], model.context_frames)

    def _predict(
        self, model: LightningModule, batch: Clip, generator: torch.Generator
    ) -> list[list[media.Labelled]]:
        """For each clip the truth and its samples, the context in front."""
        batch = model.transfer_batch_to_device(batch, model.device, 0)
        videos = [
            (label, _bytes(video)) for label, video in model.show(batch, self.samples, generator).items()
        ]
        return [[(label, video[i]) for label, video in videos] for i in range(len(batch["video"]))]

    def _write(self, trainer: Trainer, folder: Path, clips: list[list[media.Labelled]], given: int) -> None:
        fps = self.fps or (float(self._batches[0]["fps"][0]) if "fps" in self._batches[0] else 4.0)
        grid = torch.cat([media.side_by_side(c, context_frames=given, truths=1) for c in clips], dim=-2)
        strip = torch.cat([media.film_strip(c, context_frames=given, truths=1) for c in clips], dim=-2)
        gif = media.gif_bytes(grid, fps)
        moving = media.gif_summary("rollouts/moving", gif, *grid.shape[-2:])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"step_{self._step:06d}.gif").write_bytes(gif)
        media.write_png(folder / f"step_{self._step:06d}.png", strip)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment._get_file_writer().add_summary(moving, self._step)
                logger.experiment.add_image("rollouts/strip", strip, self._step)


def _bytes(video: torch.Tensor) -> torch.Tensor:
    if video.dtype == torch.uint8:
        return video
    return video.float().clamp(0, 1).mul(255).round().to(torch.uint8)


def first_clips(trainer: Trainer, count: int) -> list[Clip]:
    """The first `count` clips of one size that validation sees; none where there is no validation."""
    loader = trainer.val_dataloaders
    loader = loader[0] if isinstance(loader, list) else loader
    batches: list[Clip] = []
    if loader is None:
        return batches
    for batch in loader:
        if batches and "video" in batch and batch["video"].shape[1:] != batches[0]["video"].shape[1:]:
            continue  # of another bucket; one picture shows videos of one size
        batches.append(_first(batch, count))
        count -= clip_size(batches[-1])
        if count == 0:
            break
    return batches


def _first(part: Any, count: int) -> Any:
    if isinstance(part, dict):
        return {key: _first(value, count) for key, value in part.items()}
    return part[:count]
