"""What a feature cache saves and costs: `python benchmarks/feature_cache.py ckpt=RUN [clips=16]`.

A trained FramePack samples the same test clips from the same noise without a cache and with TeaCache, of the
change of the first block's input itself, at several thresholds. A table in markdown: share of steps that were
computed, CPU seconds over those without, PSNR of the videos against those without, and against the truth.
steps=25: velocities a section. thresholds=[0.1,0.2]. coefficients=released: FramePack's polynomial.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checkpoints.build import build
from components.feature_caches.tea import FRAMEPACK, TeaCache, TeaSteps
from components.metrics.psnr import psnr
from datamodules.batches import collate
from recipes.world_model import WorldModel

THRESHOLDS = "[0,0.05,0.1,0.15,0.2,0.3,0.5]"
REPEATS = 3


class Counting(TeaCache):
    """Keeps what it started, to be counted."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.started: list[TeaSteps] = []

    def start(self, num_steps: int) -> TeaSteps:
        self.started.append(super().start(num_steps))
        return self.started[-1]

    def share(self) -> float:
        return statistics.mean(computed for steps in self.started for computed in steps.computed)


def main(words: list[str]) -> None:
    options = dict(word.split("=") for word in words)
    torch.set_num_threads(int(options.get("threads", 1)))
    model: Any = WorldModel.load(options["ckpt"])
    if "steps" in options:
        model.sampler.num_steps = int(options["steps"])
    test = build(model.hparams["data"]).split("test")
    clip = collate([test[i] for i in range(int(options.get("clips", 16)))])
    context, truth = model.split(clip)

    def sampled(cache: TeaCache | None) -> tuple[torch.Tensor, float]:
        model.feature_cache = cache
        seconds = []
        for _ in range(REPEATS):
            began = time.process_time()
            made = model.predict(context, truth.shape[1], generator=torch.Generator().manual_seed(0))
            seconds.append(time.process_time() - began)
        return made, statistics.median(seconds)

    plain, alone = sampled(None)
    print(f"{model.sampler.num_steps} steps a section, {len(truth)} clips, {REPEATS} times each\n")
    print("| threshold | steps computed | time | PSNR to none | PSNR to the truth |\n|---|---|---|---|---|")
    print(f"| none | 1.00 | 1.00 | | {psnr(plain, truth).mean():.2f} |")
    coefficients = FRAMEPACK if options.get("coefficients") == "released" else (1.0, 0.0)
    for threshold in json.loads(options.get("thresholds", THRESHOLDS)):
        cache = Counting(threshold=threshold, coefficients=coefficients)
        made, seconds = sampled(cache)
        scores = f"{psnr(made, plain).mean():.1f} | {psnr(made, truth).mean():.2f}"
        print(f"| {threshold:g} | {cache.share():.2f} | {seconds / alone:.2f} | {scores} |")


if __name__ == "__main__":
    main(sys.argv[1:])
