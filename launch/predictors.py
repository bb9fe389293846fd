"""Whatever predicts: a checkpoint, the trivial baselines, all called alike by an evaluation."""

import resource
import sys
import time
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from components.baselines import Baseline
from components.clip import Clip
from datamodules.held_out import spread
from evaluation import Timing
from recipes.world_model import WorldModel, pixels


class Predictor(Protocol):
    """n futures of each context of a batch, and what they cost."""

    def __call__(
        self, context: Clip, horizon: int, samples: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b n t 3 h w"], Timing | None]: ...


class ModelPredictor:
    """A world model's rollouts, one sample of the whole batch after the other."""

    def __init__(self, model: WorldModel) -> None:
        self.model = model

    def __call__(
        self, context: Clip, horizon: int, samples: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b n t 3 h w"], Timing | None]:
        futures, timing = [], None
        for _ in range(samples):
            pieces, seconds, memory = [], [], []
            start = time.perf_counter()
            with torch.no_grad():
                for piece in self.model.rollout(context, horizon, generator=generator):
                    end = time.perf_counter()
                    frames = piece.shape[1]
                    seconds += [(end - start) / frames] * frames
                    memory += [_peak_memory()] * frames
                    pieces.append(piece.cpu())
                    start = time.perf_counter()
            futures.append(torch.cat(pieces, dim=1))
            timing = timing or Timing(torch.tensor(seconds), torch.tensor(memory))
        return torch.stack(futures, dim=1), timing


class BaselinePredictor:
    """A baseline's one future, as often as samples are asked for."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline

    def __call__(
        self, context: Clip, horizon: int, samples: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b n t 3 h w"], Timing | None]:
        future = self.baseline(pixels(context["video"]), horizon)
        return future[:, None].expand(-1, samples, -1, -1, -1, -1), None


class TrainingMean:
    """The mean of training frames, whatever the context: what a model knows that has learned nothing else.

    Where clips differ in size, their frames are stretched to the first one's, and the mean to the context's.
    """

    def __init__(self, dataset: Any, clips: int = 64) -> None:
        frames = [pixels(dataset[i]["video"]).mean(dim=0) for i in spread(len(dataset), clips)]
        self.mean = torch.stack([_stretched(frame, frames[0]) for frame in frames]).mean(dim=0)

    def __call__(self, context: Float[Tensor, "b c 3 h w"], horizon: int) -> Float[Tensor, "b t 3 h w"]:
        return _stretched(self.mean, context).expand(len(context), horizon, -1, -1, -1)


def _stretched(frame: Float[Tensor, "3 h w"], like: Float[Tensor, "... 3 y x"]) -> Float[Tensor, "3 y x"]:
    size = like.shape[-2:]
    return frame if frame.shape[-2:] == size else F.interpolate(frame[None], size, mode="bilinear")[0]


def _peak_memory() -> float:
    """Bytes: of the accelerator where there is one, otherwise of this process; the peak so far."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
