"""How near to the truth, how varied, how real."""

from itertools import pairwise
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from components.clip import Clip
from components.metrics import FrameFunction, VideoFeatures
from components.metrics.absolute_difference import absolute_difference
from components.metrics.best_of import BestOf
from components.metrics.frame_metric import FrameMetric
from components.metrics.frechet import FrechetDistance
from components.metrics.lpips import SMALLEST as LPIPS_SMALLEST
from components.metrics.lpips import lpips, lpips_available, lpips_hint
from components.metrics.psnr import psnr
from components.metrics.ssim import WINDOW as SSIM_WINDOW
from components.metrics.ssim import ssim
from components.metrics.video_features import I3D, TransNet, transnet_available, transnet_hint
from evaluation import Report, Timing

FEW_VIDEOS = 256  # as many as BAIR's test set; under that a Frechet distance is mostly bias


class VideoSuite:
    """PSNR, SSIM and LPIPS of the best, mean and worst future; diversity; a Frechet video distance.

    Values: psnr_best, psnr_mean, psnr_worst, and so on for ssim and lpips; diversity_lpips, or
    diversity_absolute_difference where LPIPS is not at hand; fvd with I3D, fvd_t with TransNetV2.
    Curves: psnr_best and so on, for each predicted frame.
    The Frechet distance takes the first future of each clip: all predictors are judged by equally many.
    The first batch sets the length: longer videos are cut, shorter ones left out. Under DDP every process
    needs at least one batch.
    Source: SAVP (arXiv 1804.01523), section 4.2; the paper takes 100 futures.

    samples: futures of each context.
    horizon: frames to predict, in multiples of those that a training clip has after its context.
    i3d: file with the weights of I3D; null takes the network that is on this machine, if any.
    Raises: ValueError, in one line for the user, for a file that is not I3D.
    """

    def __init__(self, *, samples: int = 10, horizon: float = 1.0, i3d: Path | None = None) -> None:
        if samples < 1 or horizon <= 0:
            raise ValueError(
                f"samples is {samples}, horizon {horizon}; give at least 1 sample, horizon above 0"
            )
        self.samples = samples
        self.horizon = horizon
        self.groups: dict[str, dict[str, object]] = {"test": {}}
        self.features: VideoFeatures | None = None
        if i3d is not None:
            self.features = I3D(path=i3d)
        elif transnet_available():
            self.features = TransNet()
        self.reset()

    def reset(self) -> None:
        self._quality: dict[str, BestOf] = {}
        self._diversity: dict[str, FrameMetric] = {}
        self._frechet: FrechetDistance | None = None
        self._notes: list[str] = []
        self._frames = self._short = 0

    def update(
        self,
        predicted: Float[Tensor, "b n t 3 h w"],
        truth: Float[Tensor, "b t 3 h w"],
        clip: Clip,
        timing: Timing | None = None,
    ) -> None:
        if not self._quality:
            self._start(predicted)
        if truth.shape[1] < self._frames:
            self._short += len(truth)
            return
        predicted, truth = predicted[:, :, : self._frames], truth[:, : self._frames]
        if predicted.stride(1) == 0:  # one future, expanded: two of its copies say all
            predicted = predicted[:, :2]
        for best_of in self._quality.values():
            best_of.update(predicted, truth)
        for diversity in self._diversity.values():
            for one, other in pairwise(predicted.unbind(1)):
                diversity.update(one, other)
        if self._frechet is not None:
            self._frechet.update(predicted[:, 0], truth)

    def compute(self) -> Report:
        report = Report(values={}, notes=self._notes + left_out(self._short, self._frames))
        for metric, best_of in self._quality.items():
            report.values |= {f"{metric}_{which}": value.item() for which, value in best_of.compute().items()}
            report.curves |= {f"{metric}_{which}": curve.cpu() for which, curve in best_of.curves().items()}
        for metric, diversity in self._diversity.items():
            report.values[f"diversity_{metric}"] = diversity.compute().item()
        if self._frechet is not None and self.features is not None:
            name, videos = self.features.distance, self._frechet.videos()
            if videos < 2:
                report.notes.append(f"no {name}: it needs at least 2 clips, got {videos}")
            else:
                report.values[name.lower().replace("-", "_")] = self._frechet.compute().item()
                if videos < FEW_VIDEOS:
                    report.notes.append(
                        f"{name} of {videos} clips: biased upwards, compare only with {name} of as many"
                    )
        return report

    def _start(self, predicted: Float[Tensor, "b n t 3 h w"]) -> None:
        """Make the metrics that fit these predictions, on their device."""
        n, t = predicted.shape[1:3]
        self._frames = t
        functions, self._notes = frame_functions(min(predicted.shape[-2:]))
        for name, function in functions.items():
            best_of = BestOf(function=function, horizon=t, lower_is_better=name == "lpips")
            self._quality[name] = best_of.to(predicted.device)
        if n > 1:
            name = "lpips" if "lpips" in functions else "absolute_difference"
            distance = functions.get("lpips", absolute_difference)
            self._diversity[name] = FrameMetric(function=distance, horizon=t).to(predicted.device)
        else:
            self._notes.append("no diversity: it needs at least 2 futures of each context")
        if self.features is None:
            self._notes.append(transnet_hint())
        elif t < self.features.min_frames:
            self._notes.append(
                f"no {self.features.distance}: it needs {self.features.min_frames} predicted frames, got {t}"
            )
        else:
            self._frechet = FrechetDistance(features=self.features).to(predicted.device)


def frame_functions(side: int) -> tuple[dict[str, FrameFunction], list[str]]:
    """The frame metrics that frames with this shorter side allow, and a line for each that is left out."""
    functions: dict[str, FrameFunction] = {"psnr": psnr}
    notes = []
    if side >= SSIM_WINDOW:
        functions["ssim"] = ssim
    else:
        notes.append(f"no SSIM: it needs frames of at least {SSIM_WINDOW} pixels a side, got {side}")
    if side < LPIPS_SMALLEST:
        notes.append(f"no LPIPS: it needs frames of at least {LPIPS_SMALLEST} pixels a side, got {side}")
    elif lpips_available():
        functions["lpips"] = lpips
    else:
        notes.append(lpips_hint())
    return functions, notes


def left_out(videos: int, frames: int) -> list[str]:
    """A line for the videos that are too short, if there are any."""
    return [f"{videos} videos left out: shorter than the first, which has {frames} frames"] if videos else []
