"""What a section costs as a video grows: `python benchmarks/constant_cost.py [threads=1] [sections=200]`.

Tokens, seconds of a velocity and peak memory of FramePack's tiny model, not trained, in 32x32 pixels, for a
packed memory, one with each kind of tail, a window, and full attention. A process each; a table in markdown
and a picture, docs/images/constant_cost.png.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import resident
from launch.command import parse
from launch.compose import compose
from launch.presets import ROOT
from launch.run import build_model, open_source, prepare

MEMORIES = {
    "packed": ["model.memory.structure=f1k1_x_f16k4f2k2f1k1_g2_td"],
    "packed, tail compressed": ["model.memory.structure=tc_f16k4f2k2f1k1_g2"],
    "packed, tail appended": ["model.memory.structure=ta_f16k4f2k2f1k1_g2"],
    "window of 3": ["model.memory=window"],
    "full": ["model.memory=full"],
}
SIDE = 32  # pixels
MARKS = (1, 5, 20, 50, 100, 200)  # sections of the table


def main(words: list[str]) -> None:
    options = dict(word.split("=") for word in words)
    sections = int(options.get("sections", 200))
    found = {}
    for name in MEMORIES:
        job = [sys.executable, __file__, "child", name, str(sections), options.get("threads", "1")]
        found[name] = json.loads(subprocess.check_output(job, text=True).splitlines()[-1])
        print(f"{name}: done", file=sys.stderr)
    marks = [mark for mark in MARKS if mark <= sections]
    print(f"| | {' | '.join(f'section {mark}' for mark in marks)} |")
    print("|---" * (len(marks) + 1) + "|")
    for what, form in (("tokens", "{:.0f}"), ("seconds", "{:.3f}"), ("megabytes", "{:.0f}")):
        for name, values in found.items():
            cells = [form.format(values[what][mark - 1]) for mark in marks]
            print(f"| {what}, {name} | {' | '.join(cells)} |")
    draw(found, ROOT / "docs" / "images" / "constant_cost.png")


def measure(name: str, sections: int) -> dict[str, list[float]]:
    """Of each section of one long rollout: tokens, seconds of its velocity, peak memory so far in MiB."""
    tokens = ["recipe=framepack", "stage=model", f"clip.height={SIDE}", f"clip.width={SIDE}", *MEMORIES[name]]
    (raw,) = compose(parse([*tokens, "model.sampler.num_steps=1"]))[0].values()
    raw.pop("cache", None)
    source, resolved = open_source(raw, prepare(raw))
    model = build_model(resolved, source).eval()
    clip = {"video": source.split("test")[0]["video"][None, :1]}
    before = resident("VmRSS")
    found: dict[str, list[float]] = {"tokens": [], "seconds": [], "megabytes": []}
    velocity, side = model.velocity, SIDE // 4

    def timed(*inputs: Any, **named: Any) -> torch.Tensor:
        began = time.perf_counter()
        made: torch.Tensor = velocity(*inputs, **named)
        found["seconds"].append(time.perf_counter() - began)
        return made

    model.velocity = timed
    pieces = model.rollout(clip, 10**9, generator=torch.Generator().manual_seed(0))
    for number in range(sections):
        next(pieces)
        known = 1 + number * model.memory.section
        found["tokens"].append(model.memory.num_tokens(side, side, known))
        found["megabytes"].append(resident("VmHWM") - before)
    return found


def draw(found: dict[str, dict[str, list[float]]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, what, told in zip(
        figure.subplots(1, 3),
        ("tokens", "seconds", "megabytes"),
        ("tokens", "seconds of a velocity", "peak memory so far, MiB"),
        strict=True,
    ):
        for name, values in found.items():
            axes.plot(range(1, len(values[what]) + 1), values[what], label=name)
        axes.set(xlabel="section", ylabel=told, yscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=110)
    print(f"\nwrote {file}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        torch.set_num_threads(int(sys.argv[4]))
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main(sys.argv[1:])
