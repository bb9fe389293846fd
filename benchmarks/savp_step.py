"""Where the time of a SAVP training step goes: `python benchmarks/savp_step.py [threads=1] [key=value ...]`.

Each part is run on its own on the same batch, the median of several; forward and backward apart. The whole
step is the real training step, and MFU compares it with this machine's own matrix products.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from callbacks.throughput import matmul_peak
from components.backbones.unroll import unroll
from datamodules.batches import collate
from launch.command import parse
from launch.compose import compose
from launch.cost import count_step
from launch.run import build_model, open_source, prepare
from recipes.world_model import pixels
from tests.recipes.conftest import take_step

REPEATS = 7


def median_ms(part: Callable[[], object]) -> float:
    part()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        part()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def forward_backward(part: Callable[[], torch.Tensor]) -> tuple[float, float]:
    """Median milliseconds of a part's forward and backward pass."""
    forward = median_ms(part)
    both = median_ms(lambda: part().backward())
    return forward, both - forward


def main(tokens: list[str]) -> None:
    threads = next((int(t.partition("=")[2]) for t in tokens if t.startswith("threads=")), 1)
    command = parse(["recipe=savp", *(t for t in tokens if not t.startswith("threads="))])
    stages, problems = compose(command)
    if problems:
        sys.exit("\n".join(f"{problem.path}: {problem.message}" for problem in problems))
    raw = next(iter(stages.values()))
    source, resolved = open_source(raw, prepare(raw))
    torch.set_num_threads(threads)
    dataset = source.split("train")
    size = resolved["loader"]["batch_size"]
    clip = collate([dataset[i] for i in range(size)])
    model = build_model(resolved, source)
    real = pixels(clip["video"])
    b, t = real.shape[0], real.shape[1] - 1
    latent = torch.randn(2 * b, t, model.generator.latent_dim)
    actions, _ = model.conditioning(clip)
    both = None if actions is None else torch.cat([actions] * 2)
    judge = model.prior_discriminator

    def roll(frames: torch.Tensor, z: torch.Tensor, a: torch.Tensor | None) -> torch.Tensor:
        made = unroll(model.generator, frames, t, latents=z, actions=a)
        return torch.stack([prediction.frame for prediction in made]).mean()

    def separate() -> torch.Tensor:
        return roll(real, latent[:b], actions) + roll(real, latent[b:], actions)

    fake = torch.cat([real[:, 1 : 1 + judge.num_frames]] * 2)
    rows = [("make the batch", median_ms(lambda: collate([dataset[i] for i in range(size)])), 0.0)]
    rows.append(("posterior", *forward_backward(lambda: model.posterior(real, actions).mean.mean())))
    rows.append(
        ("both rollouts in one batch", *forward_backward(lambda: roll(torch.cat([real] * 2), latent, both)))
    )
    rows.append(("  (one after the other)", *forward_backward(separate)))
    rows.append(("a discriminator, real and fake", *forward_backward(lambda: judge(fake)[0].mean())))
    step = median_ms(lambda: take_step(model, clip, step=10_000))
    flops, _ = count_step(build_model(resolved, source), clip)
    peak = matmul_peak(torch.device("cpu"), torch.float32)
    print(f"{threads} thread(s), {size} clips of {t + 1} frames of {real.shape[-2]}x{real.shape[-1]}")
    print(f"{'part':<34} {'forward ms':>11} {'backward ms':>12}")
    for name, forward, backward in rows:
        print(f"{name:<34} {forward:>11.1f} {backward:>12.1f}")
    print(f"{'whole step, optimisers included':<34} {step:>11.1f}")
    print(f"FLOPs a step {flops / 1e9:.1f} G, matmul peak {peak / 1e9:.0f} GFLOP/s, ", end="")
    print(f"MFU {flops / (step / 1e3) / peak:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
