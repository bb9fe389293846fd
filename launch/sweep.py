"""Run every combination of a sweep in a process of its own, and show them in one table."""

import json
import subprocess
import sys
from pathlib import Path

from launch.command import Command
from launch.presets import ROOT


def run_sweep(runs: list[tuple[dict[str, str], Command]], folder: Path) -> int:
    """Run the combinations one after another; returns 0 when all of them finished.

    A combination that finished before is not run again, so the same command with run_dir= goes on.
    """
    results: list[tuple[dict[str, str], Path, int]] = []
    for number, (chosen, command) in enumerate(runs, start=1):
        label = " ".join(f"{key}={value}" for key, value in chosen.items())
        run = folder / label.replace(" ", "_").replace("/", "-")
        code = 0
        print(f"[{number}/{len(runs)}] {label}", flush=True)
        if (run / "run.json").is_file() and _metrics(run):
            print("  finished before, skipped")
        else:
            words = {k: v for k, v in command.words.items() if k != "run_dir"} | {"run_dir": str(run)}
            tokens = Command(words, command.changes, command.deletions).tokens()
            code = subprocess.call([sys.executable, str(ROOT / "train.py"), *tokens])
        results.append((chosen, run, code))
        if code == 130:  # the user stopped it: do not start the others
            break
    print(table(results))
    print(f"\nlook:  tensorboard --logdir {folder}")
    return max((code for _, _, code in results), default=0)


def table(results: list[tuple[dict[str, str], Path, int]]) -> str:
    """Swept values and final validation metrics, a row a run."""
    metrics = [_metrics(run) for _, run, _ in results]
    names = sorted({name for found in metrics for name in found if name.startswith("val/")})
    names = [name for name in names if not name.endswith(("_copy_last", "_constant_velocity"))]
    header = [*results[0][0], *names]
    rows = [
        [*chosen.values(), *(f"{found[n]:.4g}" if n in found else "-" for n in names)]
        + ([] if code == 0 else [f"failed, exit code {code}"])
        for (chosen, _, code), found in zip(results, metrics, strict=True)
    ]
    widths = [max(len(row[i]) for row in [header, *rows] if i < len(row)) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        for row in [header, *rows]
    ]
    extra = ["  " + row[-1] if len(row) > len(header) else "" for row in [header, *rows]]
    return "\n".join(line.rstrip() + end for line, end in zip(lines, extra, strict=True))


def _metrics(run: Path) -> dict[str, float]:
    """The final metrics of a run's last stage; empty when it has not finished."""
    if not (run / "run.json").is_file():
        return {}
    stages = json.loads((run / "run.json").read_text())["stages"]
    result = run / stages[-1] / "result.json"
    return json.loads(result.read_text())["metrics"] if result.is_file() else {}
