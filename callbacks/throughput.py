"""How fast a run is, and how much of the machine it uses."""

import resource
import sys
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from components.clip import Clip, clip_size
from components.context_parallel import data_place
from components.flops import flop_counter

PEAK_SECONDS = 0.15


class Throughput(Callback):
    """Log frames and clips per second, step time, waiting for data, model FLOPs utilisation and memory.

    Means since the last log, over whole steps: fetching the data is in the step's time, validation is not.
    Callbacks that work between two steps (rollouts) belong before this one, or their time counts as waiting.

    | name | meaning |
    |---|---|
    | perf/frames_per_second, perf/clips_per_second | of all processes; latent frames where clips are cached |
    | perf/step_ms | one training batch, data and all |
    | perf/data_wait_share | part of it spent waiting for the next batch |
    | perf/mfu | FLOPs of a step / (step time x this machine's measured matmul peak in the training dtype) |
    | perf/peak_memory_gib | of the accelerator, on a CPU of the process |

    FLOPs are the matrix products, convolutions and attention of the first batch, backward included, as they
    are dispatched.
    """

    def __init__(self) -> None:
        self._flops = 0
        self._peak = 0.0
        self._counter: FlopCounterMode | None = None
        self._last_end: float | None = None
        self._start = 0.0
        self._clear()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._peak = matmul_peak(pl_module.device, _compute_dtype(trainer.precision))
        self._flops, self._last_end = 0, None
        self._clear()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Clip, batch_idx: int
    ) -> None:
        self._start = time.perf_counter()
        if self._flops == 0 and self._counter is None:
            self._counter = flop_counter()
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Clip, batch_idx: int
    ) -> None:
        if self._counter is not None:
            self._stop_counting()
        elif self._last_end is not None:
            logs = (batch_idx + 1) % trainer.log_every_n_steps == 0
            if logs and pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)
            end = time.perf_counter()
            self._steps += 1
            _, processes = data_place(trainer)
            clips = clip_size(batch) * processes
            kept = (batch[key].shape[1] for key in ("video", "latents", "codes") if key in batch)
            self._clips += clips
            self._frames += clips * next(kept, 0)
            self._seconds += end - self._last_end
            self._waited += self._start - self._last_end
            if logs:
                pl_module.log_dict(self._values(pl_module.device), batch_size=1)
                self._clear()
        self._last_end = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_end = time.perf_counter()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._counter is not None:
            self._stop_counting()

    def _stop_counting(self) -> None:
        assert self._counter is not None
        self._counter.__exit__(None, None, None)
        self._flops = self._counter.get_total_flops()
        self._counter = None

    def _clear(self) -> None:
        self._steps = self._clips = self._frames = 0
        self._seconds = self._waited = 0.0

    def _values(self, device: torch.device) -> dict[str, float]:
        frames = {"perf/frames_per_second": self._frames / self._seconds} if self._frames else {}
        return frames | {
            "perf/clips_per_second": self._clips / self._seconds,
            "perf/step_ms": 1e3 * self._seconds / self._steps,
            "perf/data_wait_share": self._waited / self._seconds,
            "perf/mfu": self._flops * self._steps / (self._seconds * self._peak),
            "perf/peak_memory_gib": _peak_memory(device) / 2**30,
        }


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of large square matrix products, the best of those that fit in 0.15 s."""
    size = 8192 if device.type == "cuda" else 768
    generator = torch.Generator(device).manual_seed(0)
    a = torch.rand(size, size, generator=generator, device=device).to(dtype)
    b = torch.rand(size, size, generator=generator, device=device).to(dtype)
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < PEAK_SECONDS or best == float("inf"):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _compute_dtype(precision: str) -> torch.dtype:
    """What the matrix products of a Lightning precision such as "bf16-mixed" run in."""
    return {"64": torch.float64, "bf": torch.bfloat16, "16": torch.float16}.get(precision[:2], torch.float32)


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
