"""WorldModel: what every recipe promises, so that sampling, evaluating and planning are written once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from components.baselines.constant_velocity import ConstantVelocity
from components.baselines.copy_last import CopyLast
from components.clip import Clip, ClipSpec
from components.context_parallel import data_place
from components.metrics.lpips import SMALLEST as LPIPS_SMALLEST
from components.metrics.lpips import lpips, lpips_available
from components.metrics.psnr import psnr
from components.metrics.ssim import WINDOW as SSIM_WINDOW
from components.metrics.ssim import ssim
from components.randomness import mix
from recipes.stage import Stage

Frames = Float[Tensor, "b k 3 h w"]


class WorldModel(Stage, ABC):
    """A model of how video goes on.

    context_frames: how many frames a prediction starts from, in validation and by default in sampling.
    seed: of all noise drawn in training and validation.
    """

    def __init__(self, *, context_frames: int, seed: int) -> None:
        super().__init__(seed=seed)
        self.context_frames = context_frames

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
        if "second_video" in clip:
            context["second_video"] = clip["second_video"][:, : self.context_frames]
        return context, pixels(clip["video"][:, self.context_frames :])

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The truth, and futures of its first frames with those in front."""
        context, _ = self.split(clip)
        horizon = clip["video"].shape[1] - self.context_frames
        videos: dict[str, Tensor] = {"truth": clip["video"]}
        for number in range(1, samples + 1):
            future = self.predict(context, horizon, generator=generator)
            videos[f"sample {number}"] = torch.cat((pixels(context["video"]), future), dim=1)
        return videos

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log val/psnr, val/ssim, val/lpips of one future, and the same of the trivial baselines."""
        context, truth = self.split(clip)
        horizon = truth.shape[1]
        rank, _ = data_place(self._trainer)
        generator = torch.Generator(self.device).manual_seed(mix(self.seed, batch_index, rank))
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


def pixels(video: Tensor) -> Tensor:
    """uint8 frames as floats in [0, 1], of torch's default type."""
    return video.to(torch.get_default_dtype()).div(255) if video.dtype == torch.uint8 else video
