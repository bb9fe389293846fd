"""WorldModel: what every recipe promises, so that sampling, evaluating and planning are written once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor

from components.baselines.constant_velocity import ConstantVelocity
from components.baselines.copy_last import CopyLast
from components.clip import Clip, ClipSpec
from components.metrics.lpips import SMALLEST as LPIPS_SMALLEST
from components.metrics.lpips import lpips, lpips_available
from components.metrics.psnr import psnr
from components.metrics.ssim import WINDOW as SSIM_WINDOW
from components.metrics.ssim import ssim
from components.randomness import ClipRandom, mix

Frames = Float[Tensor, "b k 3 h w"]


class WorldModel(LightningModule, ABC):
    """A model of how video goes on.

    context_frames: how many frames a prediction starts from, in validation and by default in sampling.
    seed: of all noise drawn in training and validation.
    """

    def __init__(self, *, context_frames: int, seed: int) -> None:
        super().__init__()
        self.context_frames = context_frames
        self.seed = seed

    def check_fits(self, spec: ClipSpec) -> None:
        """Raise ValueError, in one line for the user, if clips of these shapes cannot train this model."""
        if spec.num_frames <= self.context_frames:
            told = (
                f"clips have {spec.num_frames} frames, {self.context_frames} of them context: nothing is left"
            )
            raise ValueError(f"{told} to predict; set clip.num_frames or clip.context_frames")

    @abstractmethod
    def rollout(self, context: Clip, horizon: int, *, generator: torch.Generator) -> Iterator[Frames]:
        """Yield the future piece by piece as it is made: float in [0, 1], (b, k, 3, h, w).

        context: `video` holds only frames that are known. Future actions, text and cameras ride in the clip:
            actions (b, context + horizon - 1, a). Many candidate action sequences are one batched call.
        horizon: how many frames in all.
        generator: all randomness of the sample.
        """

    @torch.no_grad()
    def predict(
        self, context: Clip, horizon: int, *, generator: torch.Generator
    ) -> Float[Tensor, "b t 3 h w"]:
        """The future in one piece."""
        return torch.cat(list(self.rollout(context, horizon, generator=generator)), dim=1)

    def split(self, clip: Clip) -> tuple[Clip, Float[Tensor, "b t 3 h w"]]:
        """A clip as context, with all that is not video still in it, and the frames that follow."""
        context = clip.copy()
        context["video"] = clip["video"][:, : self.context_frames]
        if "state" in clip:
            context["state"] = clip["state"][:, : self.context_frames]
        return context, pixels(clip["video"][:, self.context_frames :])

    def random(self, clip: Clip, step: int) -> ClipRandom:
        """Randomness for one training step over this process's share of the global batch."""
        size = len(clip["video"])
        return ClipRandom(self.seed, step, first=self.global_rank * size, size=size, device=self.device)

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log val/psnr, val/ssim, val/lpips of one future, and the same of the trivial baselines."""
        context, truth = self.split(clip)
        horizon = truth.shape[1]
        generator = torch.Generator(self.device).manual_seed(mix(self.seed, batch_index, self.global_rank))
        predicted = self.predict(context, horizon, generator=generator)
        known = pixels(context["video"])
        copied, moved = CopyLast()(known, horizon), ConstantVelocity()(known, horizon)
        side = min(truth.shape[-2:])
        scores = {"psnr": psnr}
        if side >= SSIM_WINDOW:
            scores["ssim"] = ssim
        if side >= LPIPS_SMALLEST and lpips_available():
            scores["lpips"] = lpips
        for name, score in scores.items():
            self.log_validation(name, score(predicted, truth), bar=name == "psnr")
            if name != "lpips":
                self.log_validation(f"{name}_copy_last", score(copied, truth))
                self.log_validation(f"{name}_constant_velocity", score(moved, truth))

    def log_validation(self, name: str, values: Float[Tensor, "b t"], *, bar: bool = False) -> None:
        self.log(f"val/{name}", values.mean(), batch_size=len(values), sync_dist=True, prog_bar=bar)

    def remember(self, config: dict[str, Any]) -> None:
        """Keep the config that built this model; every checkpoint carries it."""
        self.save_hyperparameters(config, logger=False)

    @classmethod
    def load(cls, path: str | Path) -> "WorldModel":
        """A trained model from a run folder, a checkpoint or an exported folder, ready to roll out.

        Raises:
            CheckpointError: one line: what is missing or broken, and where.
        """
        from checkpoints.own import load_model

        model = load_model(Path(path))
        if not isinstance(model, cls):
            raise TypeError(f"{path} holds a {type(model).__name__}, not a {cls.__name__}")
        return model.eval()


def pixels(video: Tensor) -> Tensor:
    """uint8 frames as floats in [0, 1]."""
    return video.float().div(255) if video.dtype == torch.uint8 else video
