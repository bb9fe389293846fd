"""Whether a long rollout keeps its quality, and what a frame costs."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from components.clip import Clip
from components.metrics import VideoScore
from components.metrics.motion_amount import MotionAmount
from components.metrics.rollout_cost import RolloutCost
from components.metrics.spread import Spread
from components.metrics.start_end_delta import SHARE, StartEndDelta
from components.metrics.video_drift_error import CHUNKS, VideoDriftError, late
from components.metrics.video_scores import colour, sharpness, smoothness
from evaluation import Report, Timing
from evaluation.video import frame_functions, left_out

SCORES: dict[str, VideoScore] = {"sharpness": sharpness, "smoothness": smoothness, "colour": colour}
SMOOTH_CHUNK = 3  # frames of a chunk that smoothness needs
LEAST_SPREAD = 0.5  # of the truth's: under that the videos have become one
LEAST_MOTION, MOST_MOTION = 0.1, 5.0  # times the truth's: outside, they have frozen or turned into noise


class LongSuite:
    """Start-end deltas of every frame metric, VDE with its guards, motion, and the cost of each new frame.

    Values: psnr, delta_psnr, first_psnr and last_psnr (of the first and last 15 % of frames), and so on for
    ssim, lpips and background, the median over pixels of the squared error, to which small things that move
    do not count; vde_sharpness, vde_smoothness, vde_colour, and
    vde_late_* with rising weights; motion and spread, both over the truth's; seconds_per_frame,
    seconds_growth (last 15 % over first 15 %) and peak_megabytes where the rollout was timed.
    Curves: psnr, ssim, lpips, motion, seconds_per_frame, peak_megabytes, for each predicted frame.
    A set of videos that has collapsed never changes and would win VDE. So where spread is under 0.5, or
    motion not between 0.1 and 5 times the truth's, every VDE is infinite and a note tells what it was.
    Only the first future of each clip is judged. The first batch sets the length: longer videos are cut,
    shorter ones left out. Under DDP every process needs at least one batch.
    Source: FramePack (arXiv 2504.12626) for the deltas, BlockVid (arXiv 2511.22973) for VDE.

    horizon: frames to predict, in multiples of those that a training clip has after its context.
    """

    samples = 1

    def __init__(self, *, horizon: float = 8.0) -> None:
        if horizon <= 0:
            raise ValueError(f"horizon is {horizon}; give a number above 0")
        self.horizon = horizon
        self.groups: dict[str, dict[str, object]] = {"test": {}}
        self.reset()

    def reset(self) -> None:
        self._deltas: dict[str, StartEndDelta] = {}
        self._drift: dict[str, VideoDriftError] = {}
        self._true_drift: dict[str, VideoDriftError] = {}
        self._motion: MotionAmount | None = None
        self._spread = Spread()
        self._cost: RolloutCost | None = None
        self._notes: list[str] = []
        self._frames = self._short = 0

    def update(
        self,
        predicted: Float[Tensor, "b n t 3 h w"],
        truth: Float[Tensor, "b t 3 h w"],
        clip: Clip,
        timing: Timing | None = None,
    ) -> None:
        if not self._deltas:
            self._start(truth)
        if truth.shape[1] < self._frames:
            self._short += len(truth)
            return
        truth, video = truth[:, : self._frames], predicted[:, 0, : self._frames]
        for delta in self._deltas.values():
            delta.update(video, truth)
        for drifts, judged in ((self._drift, video), (self._true_drift, truth)):
            for drift in drifts.values():
                drift.update(judged)
        self._spread.update(video, truth)
        if self._motion is not None:
            self._motion.update(video, truth)
        if timing is not None:
            self._cost = self._cost or RolloutCost(horizon=self._frames).to(timing.seconds.device)
            self._cost.update(timing.seconds[: self._frames], timing.memory[: self._frames])

    def compute(self) -> Report:
        report = Report(values={}, notes=self._notes + left_out(self._short, self._frames))
        for name, delta in self._deltas.items():
            report.curves[name] = delta.curve().cpu()
            report.values[name] = report.curves[name].mean().item()
            report.values[f"delta_{name}"] = delta.compute().item()
            report.values[f"first_{name}"] = report.curves[name][: delta.frames].mean().item()
            report.values[f"last_{name}"] = report.curves[name][-delta.frames :].mean().item()
        if self._motion is not None:
            report.values |= self._guarded_drift(report.notes)
            report.curves["motion"] = self._motion.curve().cpu()
        if self._cost is not None:
            _add_cost(report, self._cost)
        return report

    def _guarded_drift(self, notes: list[str]) -> dict[str, float]:
        """VDE, infinite for videos that have collapsed; motion and spread, which tell."""
        assert self._motion is not None
        motion, spread = self._motion.compute().item(), self._spread.compute().item()
        drifts = {f"vde_{name}": drift.compute().item() for name, drift in self._drift.items()}
        told = ", ".join(f"{name} {value:.3g}" for name, value in drifts.items())
        drifts |= {f"vde_late_{name}": drift.weighted(late).item() for name, drift in self._drift.items()}
        fault = collapse(motion, spread)
        if fault and drifts:
            notes.append(f"VDE does not count: {fault}; it would be {told}")
            drifts = dict.fromkeys(drifts, math.inf)
        for name, drift in self._drift.items():
            if infinite := drift.infinite():
                notes.append(
                    f"vde_{name} leaves out {infinite} videos: they begin with {name} 0 (VDE infinite)"
                )
        if self._true_drift:
            told = ", ".join(f"{name} {drift.compute():.3g}" for name, drift in self._true_drift.items())
            notes.append(f"VDE of the true videos: {told}")
        if math.isnan(spread):
            notes.append("no spread: it needs 2 clips that end differently; VDE is not guarded by it")
            return drifts | {"motion": motion}
        return drifts | {"motion": motion, "spread": spread}

    def _start(self, truth: Float[Tensor, "b t 3 h w"]) -> None:
        """Make the metrics that fit these videos, on their device."""
        t, device = truth.shape[1], truth.device
        self._frames = t
        functions, self._notes = frame_functions(min(truth.shape[-2:]))
        for name, function in (functions | {"background": background}).items():
            self._deltas[name] = StartEndDelta(function=function, horizon=t).to(device)
        scores = dict(SCORES) if t >= CHUNKS else {}
        if t < SMOOTH_CHUNK * CHUNKS:
            scores.pop("smoothness", None)
            wants = f"{CHUNKS} frames, vde_smoothness {SMOOTH_CHUNK * CHUNKS}"
            self._notes.append(f"VDE needs {wants}; got {t}: raise horizon")
        for name, score in scores.items():
            self._drift[name] = VideoDriftError(score=score).to(device)
            self._true_drift[name] = VideoDriftError(score=score).to(device)
        if t > 1:
            self._motion = MotionAmount(horizon=t).to(device)
        self._spread = self._spread.to(device)


def background(
    predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]
) -> Float[Tensor, "b t"]:
    """Median over pixels of the squared error, channels averaged."""
    return (predicted - truth).square().mean(dim=2).flatten(2).median(dim=2).values


def collapse(motion: float, spread: float) -> str:
    """What shows that videos have collapsed, or nothing; both numbers are multiples of the truth's."""
    faults = []
    if motion < LEAST_MOTION:
        faults.append(f"frozen (motion {motion:.2g} of the truth's)")
    elif motion > MOST_MOTION:
        faults.append(f"noise (motion {motion:.2g} times the truth's)")
    if spread < LEAST_SPREAD:
        faults.append(f"all videos end alike (spread {spread:.2g} of the truth's)")
    return ", ".join(faults)


def _add_cost(report: Report, cost: RolloutCost) -> None:
    seconds, memory = (values.cpu() for values in cost.compute())
    ends = max(1, round(SHARE * len(seconds)))
    start, end = seconds[:ends].mean().item(), seconds[-ends:].mean().item()
    report.values["seconds_per_frame"] = seconds.mean().item()
    report.values["seconds_growth"] = end / start if start > 0 else math.nan
    report.curves["seconds_per_frame"] = seconds
    if torch.any(memory > 0):
        report.values["peak_megabytes"] = memory[-1].item() / 2**20
        report.curves["peak_megabytes"] = memory / 2**20
