"""What cached and bucketed latents gain: `python benchmarks/latents.py [threads=1] [repeats=5] [PART ...]`.

cached    clips/s of FramePack's tiny training, loader and step, from a cache and encoding on the way: with
          the recipe's tokenizer, and with a larger one, which costs more than a step, as public ones do;
          the share of a step that is spent waiting for cached clips
bucketed  clips/s of steps over latents of mixed lengths and shapes, in buckets and padded to the largest
In one process, in turns, medians.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lightning.pytorch import Trainer

from benchmarks.comparing import in_turns, run_parts, show, show_ratio
from callbacks.latent_writer import LatentWriter
from components.clip import Clip
from datamodules.latent_cache import LatentCache
from datamodules.loader import ClipDataModule
from launch.command import parse
from launch.compose import compose
from launch.run import build_model, open_source, prepare
from recipes.latent_caching import LatentCaching

BATCH, CLIPS, STEPS = 16, 64, 4
TOKENIZERS = {
    "the recipe's tokenizer, 32x32": [],
    "a larger one, 64x64": [
        "clip.height=64", "clip.width=64", "tokenizer.patch=[1,1]", "tokenizer.widths=[48,96,192,192]",
        "tokenizer.halvings=[space,both,both]", "tokenizer.channels=8",
    ],
}  # fmt: skip
LENGTHS = (3, 5, 7)  # latent frames
SHAPES = ((8, 8), (6, 10), (10, 6))


def built(*tokens: str) -> tuple[Any, Any]:
    """The recipe's model and its source of clips."""
    stages, problems = compose(parse(["recipe=framepack", f"loader.batch_size={BATCH}", *tokens]))
    assert not problems, problems
    source, resolved = open_source(stages["model"], prepare(stages["model"]))
    model = build_model(resolved, source)
    model.log = model.log_dict = lambda *args, **kwargs: None
    (optimizer,) = model.configure_optimizers()
    model.optimizers = lambda: optimizer
    return model, source


def step(model: Any, clip: Clip) -> None:
    optimizer = model.optimizers()
    optimizer.zero_grad()
    model.training_step(clip, 0).backward()
    optimizer.step()


def loader(source: Any, num_batches: int) -> ClipDataModule:
    return ClipDataModule(
        source=source, batch_size=BATCH, num_batches=num_batches, val_clips=BATCH, num_workers=0, seed=0
    )


def cached(repeats: int) -> None:
    for name, tokens in TOKENIZERS.items():
        model, source = built(*tokens)
        with tempfile.TemporaryDirectory() as folder:
            writer = LatentWriter(root=folder, train_clips=CLIPS)
            trainer = Trainer(
                accelerator="cpu", logger=False, callbacks=[writer], enable_model_summary=False,
                enable_progress_bar=False, default_root_dir=folder,
            )  # fmt: skip
            maker = LatentCaching(tokenizer=model.tokenizer, seed=0)
            trainer.predict(maker, datamodule=loader(source, 1), return_predictions=False)
            cache = LatentCache(root=folder, source=source)
            many = STEPS * (repeats + 1)
            waited = [0.0]
            runs = [iter(loader(clips, many).train_dataloader()) for clips in (cache, source)]
            times = in_turns(
                repeats, partial(take, model, runs[0], waited), partial(take, model, runs[1], [0.0])
            )
        for kind, taken in zip(("cached", "encoded on the way"), times, strict=True):
            rate = BATCH * STEPS / statistics.median(taken[0])
            show(f"{name}, {kind}"[:34], taken, f"{rate:.1f} clips/s")
        show_ratio(*times)
        print(
            f"{'waiting for cached clips':34} {waited[0] / STEPS / (repeats + 1) * 1e3:8.1f} ms a step, "
            f"{waited[0] / (sum(times[0][0]) * (repeats + 1) / repeats):.1%} of it"
        )


def take(model: Any, batches: Iterator[Clip], waited: list[float]) -> None:
    for _ in range(STEPS):
        began = time.perf_counter()
        clip = next(batches)
        waited[0] += time.perf_counter() - began
        step(model, clip)


def bucketed(repeats: int) -> None:
    model, _ = built()
    sizes = [(length, *shape) for length in LENGTHS for shape in SHAPES]
    largest = tuple(max(side) for side in zip(*sizes, strict=True))
    rows = {"bucketed": sizes, "padded to the largest": [largest] * len(sizes)}
    batches = {kind: [latents(size) for size in of] for kind, of in rows.items()}
    times = in_turns(
        repeats, *(lambda made=made: [step(model, clip) for clip in made] for made in batches.values())
    )
    for kind, taken in zip(rows, times, strict=True):
        show(kind, taken, f"{BATCH * len(sizes) / statistics.median(taken[0]):.1f} clips/s")
    show_ratio(*times)


def latents(size: tuple[int, ...]) -> Clip:
    length, height, width = size
    made = torch.randn(BATCH, length, 8, height, width, generator=torch.Generator().manual_seed(0))
    return Clip(latents=made, text=["a red square moves left"] * BATCH, id=[str(i) for i in range(BATCH)])


if __name__ == "__main__":
    run_parts(__file__, {"cached": cached, "bucketed": bucketed}, sys.argv[1:])
