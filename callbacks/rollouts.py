"""Rollouts of fixed validation clips while a model trains: what the curves cannot show."""

from itertools import islice
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.seed import isolate_rng
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from components import media
from components.clip import Clip

SEED = 0  # the same noise every time, so that two steps differ by the model alone


class Rollouts(L.Callback):
    """Every `every` training steps and at the end, predict the same clips and show them.

    Truth and samples move side by side, frames the model was given framed green and its own red: as a GIF
    in TensorBoard's images, as a film strip, and as files in `rollouts/` of the run folder.
    The model has `context_frames` and `predict(context, horizon, generator=...)`. Neither its modes nor any
    random state changes. Every process predicts, since sharded weights need them all; the first one writes.
    """

    def __init__(self, *, every: int, clips: int = 4, samples: int = 2, fps: float | None = None) -> None:
        self.every = every
        self.clips = clips
        self.samples = samples
        self.fps = fps  # None: as the clips say
        self._batch: Clip | None = None
        self._step = 0
        self._shown = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: Clip, batch_idx: int
    ) -> None:
        self._step = batch_idx + 1
        if self._step % self.every == 0:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._step > self._shown:
            self._show(trainer, pl_module)

    def _show(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._shown = self._step
        modes = {module: module.training for module in model.modules()}
        with isolate_rng(), torch.no_grad():
            if self._batch is None:
                self._batch = _clips(trainer, self.clips)
            clip = model.transfer_batch_to_device(self._batch, model.device, 0)
            model.eval()
            predicted = self._predict(model, clip)
        for module, training in modes.items():
            module.training = training
        if trainer.is_global_zero:
            self._write(trainer, clip, predicted, given=model.context_frames)

    def _predict(self, model: L.LightningModule, clip: Clip) -> list[Tensor]:
        """Samples, each uint8 (b, t, 3, h, w) with the context in front."""
        given = model.context_frames
        context = Clip(**{**clip, "video": clip["video"][:, :given]})
        if "state" in clip:
            context["state"] = clip["state"][:, :given]
        horizon = clip["video"].shape[1] - given
        generator = torch.Generator(model.device).manual_seed(SEED)
        videos = []
        for _ in range(self.samples):
            future = model.predict(context, horizon, generator=generator)
            future = (future.float().clamp(0, 1) * 255).round().to(torch.uint8)
            videos.append(torch.cat((context["video"], future), dim=1).cpu())
        return videos

    def _write(self, trainer: L.Trainer, clip: Clip, predicted: list[Tensor], *, given: int) -> None:
        truth = clip["video"].cpu()
        grids, rows = [], []
        for i in range(len(truth)):
            columns = [("truth", media.enlarge(truth[i]), truth.shape[1])]
            columns += [
                (f"sample {n}", media.enlarge(video[i]), given) for n, video in enumerate(predicted, start=1)
            ]
            grids.append(media.side_by_side(columns))
            rows += columns
        fps = self.fps or (float(clip["fps"][0]) if "fps" in clip else 4.0)
        grid, strip = torch.cat(grids, dim=-2), media.film_strip(rows)
        gif = media.gif_bytes(grid, fps)

        from PIL import Image

        folder = Path(trainer.log_dir or trainer.default_root_dir) / "rollouts"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"step_{self._step:06d}.gif").write_bytes(gif)
        Image.fromarray(strip.permute(1, 2, 0).numpy()).save(folder / f"step_{self._step:06d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                _add_gif(logger, gif, height=grid.shape[-2], width=grid.shape[-1], step=self._step)
                logger.experiment.add_image("rollouts/strip", strip, self._step)


def _clips(trainer: L.Trainer, count: int) -> Clip:
    """The first process's clips are spread evenly over the validation set; no loader's position moves."""
    trainer.fit_loop.epoch_loop.val_loop.setup_data()
    loader = trainer.val_dataloaders
    loader = loader[0] if isinstance(loader, list) else loader
    dataset: Dataset = loader.dataset
    if not isinstance(dataset, IterableDataset):
        count = min(count, len(dataset))
        return loader.collate_fn([dataset[i * len(dataset) // count] for i in range(count)])
    state = dataset.state_dict()
    clips = list(islice(dataset, count))
    dataset.load_state_dict(state)
    return loader.collate_fn(clips)


def _add_gif(logger: TensorBoardLogger, gif: bytes, *, height: int, width: int, step: int) -> None:
    """TensorBoard shows any image the browser can; its own add_video would need another library."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    summary = Summary(value=[Summary.Value(tag="rollouts/moving", image=image)])
    logger.experiment._get_file_writer().add_summary(summary, step)
