"""Does a model whose pictures are nearer to the truth act better? `python benchmarks/success_and_looks.py`.

Reads the trainings that `python reproduce.py recipe=videoworld claim=control` has left in runs/claims: of
each that predicts video, how near the first predicted frame is to the truth (PSNR; LPIPS where its weights
are installed, else SSIM), beside the success that the claim measured. more=RUN,RUN adds runs that
`evaluate.py suite=control` has judged. Writes docs/images/success_and_looks.png and prints the numbers.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components.media import write_png
from components.metrics.lpips import lpips_available
from evaluation.curves import as_image
from evaluation.judged import Judged
from evaluation.video import VideoSuite
from launch.claims.arms import arms_of
from launch.claims.reading import read_claims
from launch.presets import ROOT
from recipes.stage import Stage
from recipes.world_model import WorldModel

CLIPS = 256


def main(words: list[str]) -> None:
    options = dict(word.split("=") for word in words)
    torch.set_num_threads(1)
    (claim,) = read_claims("videoworld", "control")
    arms = arms_of([claim], "videoworld", 3, Path(options.get("runs", "runs/claims")) / "videoworld")
    judged = []
    for (_, variant, _), arm in arms.items():
        if arm.next_command() is None:
            judged.append((variant, arm.folder, float(arm.found(claim.measures)["success"])))
    for run in filter(None, options.get("more", "").split(",")):
        (report,) = json.loads((Path(run) / "evaluation" / "control.json").read_text())["groups"][
            "test"
        ].values()
        judged.append((Path(run).name, Path(run), report["values"]["success"]))
    second = "lpips" if lpips_available() else "ssim"
    looks = Judged(
        suite=VideoSuite(samples=1), metrics=["psnr_mean", f"{second}_mean"], clips=CLIPS, horizon=1
    )
    points: dict[str, list[tuple[float, float, float]]] = {}
    for name, run, success in judged:
        model = Stage.load(run)
        if isinstance(model, WorldModel):
            psnr, other = looks(model).values()
            points.setdefault(name, []).append((psnr, other, success))
            print(f"{run}: psnr {psnr:.2f} dB, {second} {other:.4f}, success {success:.3f}", flush=True)
    file = ROOT / "docs" / "images" / "success_and_looks.png"
    write_png(file, scatter(points, ("PSNR of the next frame, dB", second.upper())))
    print(f"wrote {file}")


def scatter(points: dict[str, list[tuple[float, float, float]]], names: tuple[str, str]) -> torch.Tensor:
    """A panel for each measure of looks, a colour for each kind of model, a point for each training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(1, 2, place + 1)
        for label, found in points.items():
            axes.scatter([p[place] for p in found], [p[2] for p in found], label=label)
        axes.set(xlabel=name, ylabel="success", ylim=(-0.02, None))
        axes.grid(alpha=0.3)
    axes.legend()
    return as_image(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
