"""The table of docs/out_of_memory.md: `python -m launch.memory_table`; a short process for each row."""

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from launch.presets import ROOT

PAGE = ROOT / "docs" / "out_of_memory.md"
BEGIN, END = "<!-- memory table: begin -->", "<!-- memory table: end -->"
STEPS = 3
FIGURES = {  # of the report that dry=true prints
    "parameters": r"trained parameters +([\d,]+)",
    "state": r"no sharding +([\d.]+ \w+) for weights",
    "flops": r"FLOPs a step +([\d,.]+) G",
    "batch": r"a step +(\d+ clips, \d+ frames)",
}
HEADER = "| recipe | size | stage | a step | trained | weights, gradients, Adam | GFLOPs | peak | seconds |"


def main(tokens: list[str]) -> int:
    """Write the table; of recipe=, size= and stage= print the figures as JSON."""
    from launch.command import parse
    from launch.compose import SIZES, compose, recipe_folders, trains

    if tokens:
        (raw,) = compose(parse(tokens))[0].values()
        print(json.dumps(figures(raw)))
        return 0
    rows = []
    for recipe in recipe_folders():
        for size in SIZES:
            words = [f"recipe={recipe}", f"size={size}"]
            stages = compose(parse(words))[0]
            open_keys = {
                key for raw in stages.values() for key, value in raw["data"].items() if value == "???"
            }
            words += [f"data.{key}=my_clips" for key in sorted(open_keys)]  # only their shapes are used
            rows += [row(recipe, size, stage, words) for stage, raw in stages.items() if trains(raw)]
    write(PAGE, rows)
    return 0


def row(recipe: str, size: str, stage: str, words: list[str]) -> str:
    """One line of the table, from a process of its own: a process never gives back what it once held."""
    command = [sys.executable, "-m", "launch.memory_table", *words, f"stage={stage}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr[-2000:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    measured = (f"{found['peak']:.0f} MiB", f"{found['seconds']:.2g}") if "peak" in found else ("-", "-")
    cells = [
        recipe,
        size,
        stage,
        found["batch"],
        found["parameters"],
        found["state"],
        found["flops"],
        *measured,
    ]
    print(*cells, flush=True)
    return f"| {' | '.join(cells)} |"


def figures(raw: dict[str, Any]) -> dict[str, Any]:
    """What dry=true says of a stage and, at the tiny size, what a few steps take."""
    import logging
    import warnings

    from launch.cost import estimate

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    measured = measure(raw) if raw["size"] == "tiny" else {}  # first: counting FLOPs takes memory too
    report = estimate(raw)
    return {name: _first(pattern, report) for name, pattern in FIGURES.items()} | measured


def measure(raw: dict[str, Any]) -> dict[str, float]:
    """Peak memory in MiB over that of a process that has imported all, and CPU seconds of a training step."""
    import torch
    from lightning.pytorch import Callback

    from checkpoints.build import build
    from launch.run import build_model, open_source, prepare

    class Clock(Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_start(self, *_: Any) -> None:
            self.times.append(time.process_time())

        def on_train_batch_end(self, *_: Any) -> None:
            self.times.append(time.process_time())

    resolved, clock = prepare(raw), Clock()  # the check imports every component
    torch.set_num_threads(1)
    idle = _resident()
    source, resolved = open_source(raw, resolved)
    model = build_model(resolved, source)
    loader = build(resolved["loader"], source=source, num_batches=STEPS)
    options = resolved["trainer"] | {"max_steps": -1, "val_check_interval": None, "accelerator": "cpu"}
    trainer = build(
        options,
        callbacks=[clock],
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    trainer.fit(model, datamodule=loader)
    unit = 1 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    steps = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    return {"peak": (peak - idle) / 2**20, "seconds": statistics.median(steps)}


def write(page: Path, rows: list[str]) -> None:
    """Put the table between its markers."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join([HEADER, "|---" * HEADER.count(" | ") + "|---|", *rows])
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern}: not in the report"
    return found[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
