"""Which metric catches which fool: `python benchmarks/fool_metrics.py` writes a table in docs/evaluation.md.

Futures that no model should be praised for are judged beside an honest one, the truth a little blurred.
"""

import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components.metrics.frechet import frechet_distance
from components.metrics.video_drift_error import VideoDriftError
from components.metrics.video_features import TransNet, transnet_available
from datamodules.batches import collate
from datamodules.bouncing_balls import BouncingBalls
from evaluation.long import SCORES, LongSuite
from evaluation.video import VideoSuite
from recipes.world_model import pixels

PAGE = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"
CLIPS, BATCH, SIDE = 8, 4, 48
CONTEXT, HORIZON = 2, 30
BEGIN, END = "<!-- fool table: begin -->", "<!-- fool table: end -->"
HIGHER = ("psnr", "ssim", "diversity")  # these metrics are better when high; the others when low
RATIOS = ("motion", "spread")  # of the truth's: right near 1
RATIO_RANGE = (0.5, 2.0)
HONEST = "honest"


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    values = judge()
    seconds = time.process_time() - start
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    told = (
        f"{CLIPS} clips of `bouncing_balls` (all worlds), {HORIZON} predicted frames of {SIDE}x{SIDE}; "
        f"torch {torch.__version__.partition('+')[0]}, {seconds:.0f} s of one core."
    )
    PAGE.write_text(f"{before}{BEGIN}\n{table(values)}\n\n{told}\n{END}{after}")
    print(table(values))
    print(f"\nwrote {PAGE}")


def judge() -> dict[str, dict[str, float]]:
    """Values by future and metric."""
    source = BouncingBalls(
        worlds=["uniform", "collision", "parabola"],
        num_frames=CONTEXT + HORIZON,
        height=SIDE,
        width=SIDE,
        seed=0,
    )
    dataset = source.split("test")
    suites: dict[str, tuple[VideoSuite, LongSuite, dict[str, VideoDriftError]]] = {}
    features: dict[str, list[Tensor]] = {}
    generator = torch.Generator().manual_seed(0)
    for first in range(0, CLIPS, BATCH):
        clip = collate([dataset[i] for i in range(first, first + BATCH)])
        video = pixels(clip["video"])
        truth = video[:, CONTEXT:]
        if transnet_available():
            features.setdefault("truth", []).append(TransNet()(truth))
        for name, futures in fools(video, generator).items():
            if name not in suites:
                exact = {score: VideoDriftError(score=function) for score, function in SCORES.items()}
                suites[name] = (VideoSuite(samples=2), LongSuite(), exact)
                suites[name][0].features = None  # below, so that the truth is looked at once, not six times
            short, long, exact = suites[name]
            short.update(futures, truth, clip)
            long.update(futures, truth, clip)
            for drift in exact.values():
                drift.update(futures[:, 0])
            if transnet_available():
                features.setdefault(name, []).append(TransNet()(futures[:, 0]))
    found = {}
    for name, (short, long, exact) in suites.items():
        shown = short.compute().values
        kept = {key: shown[key] for key in shown if not key.endswith(("_mean", "_worst"))}
        if name in features:
            kept["fvd_t"] = frechet(features[name], features["truth"])
        drifts = long.compute().values
        kept |= {key: drifts[key] for key in drifts if key.startswith("delta_")}
        for score, drift in exact.items():
            kept[f"vde_{score}, unguarded"] = drift.compute().item()
            kept[f"vde_{score}"] = drifts[f"vde_{score}"]
        found[name] = kept | {key: drifts[key] for key in RATIOS}
    return found


def frechet(predicted: list[Tensor], truth: list[Tensor]) -> float:
    x, y = (torch.cat(batches).double() for batches in (predicted, truth))
    return frechet_distance(x.mean(dim=0), torch.cov(x.T), y.mean(dim=0), torch.cov(y.T)).item()


def fools(video: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Two futures each, (b, 2, t, 3, h, w); those that are one future twice are expanded."""
    truth = video[:, CONTEXT:]
    fading = truth * torch.linspace(1.0, 0.5, HORIZON)[:, None, None, None]
    noise = torch.rand((len(truth), 2, *truth.shape[1:]), generator=generator)
    honest = torch.stack((blurred(truth), blurred(video[:, CONTEXT - 1 : -1])), dim=1)
    twice = {
        "frozen video": truth[:, HORIZON // 2 : HORIZON // 2 + 1].expand_as(truth),
        "copied last frame": video[:, CONTEXT - 1 : CONTEXT].expand_as(truth),
        "time-reversed truth": truth.flip(1),
        "brightness drift": fading,
    }
    expanded = {name: future[:, None].expand(-1, 2, -1, -1, -1, -1) for name, future in twice.items()}
    return {HONEST: honest, "noise": noise, **expanded}


def blurred(video: Tensor) -> Tensor:
    """3x3 mean of each frame."""
    frames = F.pad(video.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(frames, 3, stride=1).unflatten(0, video.shape[:2])


def caught(metric: str, value: float, honest: float) -> bool:
    """Whether a metric puts a fool behind the honest future, or a ratio shows that something is wrong."""
    if metric in RATIOS:
        return not RATIO_RANGE[0] <= value <= RATIO_RANGE[1]
    return value < honest if metric.startswith(HIGHER) else value > honest


def table(values: dict[str, dict[str, float]]) -> str:
    names = [name for name in values if name != HONEST]
    lines = [f"| metric | {HONEST} | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for metric, honest in values[HONEST].items():
        cells = [number(honest)]
        for name in names:
            value = values[name][metric]
            cells.append(number(value) + (" caught" if caught(metric, value, honest) else ""))
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value: float) -> str:
    if math.isinf(value):
        return "inf"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


if __name__ == "__main__":
    main()
