"""What became of a recipe's claims: results.json, and the table in its README."""

import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from launch.claims.expectation import Value
from launch.claims.reading import Claim
from launch.presets import ROOT

RESULTS, README = "results.json", "README.md"
BEGIN, END = "<!-- claims: written by reproduce.py -->", "<!-- end of claims -->"
WIDE = 8  # columns of metrics; more become rows
LIBRARIES = ("torch", "lightning", "torchmetrics")
Found = Mapping[str, Sequence[Mapping[str, Value]]]  # by variant: what each seed found, by metric


def judge(claim: Claim, found: Found, failures: Sequence[str]) -> dict[str, Any]:
    """A claim's record: verdict, mean and spread (sample standard deviation) of every metric.

    A metric that some model cannot have, as boards drawn by one that draws none, is left out for it.
    The verdict is `shown` when the expectation holds for the means over seeds; `seeds_that_show` counts the
    seeds in which it holds by itself. `no result` when an arm has none.
    """
    record: dict[str, Any] = {"says": claim.says, "expect": claim.expect.text, "minutes": claim.minutes}
    if failures:
        return record | {"verdict": "no result", "failures": list(failures)}
    seeds = len(next(iter(found.values())))
    told = {v: [m for m in claim.metrics if all(m in one for one in runs)] for v, runs in found.items()}
    means = {v: {m: _mean([one[m] for one in runs]) for m in told[v]} for v, runs in found.items()}
    spreads = {v: {m: _spread([one[m] for one in runs]) for m in told[v]} for v, runs in found.items()}
    by_seed = [claim.expect.holds(_named({v: runs[i] for v, runs in found.items()})) for i in range(seeds)]
    verdict = "shown" if claim.expect.holds(_named(means)) else "failed"
    counts = {"verdict": verdict, "seeds_that_show": sum(by_seed), "seeds": seeds}
    return (
        record | counts | {"mean": means, "spread": spreads, "found": {v: list(r) for v, r in found.items()}}
    )


def circumstances(command: str, cores: int) -> dict[str, Any]:
    """Command, date and versions of a record."""
    versions = {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in LIBRARIES
    }
    return {
        "command": command,
        "date": date.today().isoformat(),
        "versions": versions | {"commit": _commit()},
        "machine": f"{cores} cores, {platform.machine()}",
    }


def write(folder: Path, order: Sequence[str], records: Mapping[str, Any]) -> dict[str, Any]:
    """Merge records into results.json and write the README's table anew; returns all records.

    order: the claims there are; records of others are dropped.
    """
    file = folder / RESULTS
    old = json.loads(file.read_text()) if file.is_file() else {}
    merged = {name: {**old, **records}[name] for name in order if name in old or name in records}
    _replace(file, json.dumps(merged, indent=1) + "\n")
    readme = folder / README
    text = readme.read_text() if readme.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:  # no place for it yet
        before, after = text.rstrip() + "\n\n## Claims\n\n", "\n"
    _replace(readme, f"{before}{BEGIN}\n{markdown(merged)}\n{END}{after}")
    return merged


def markdown(records: Mapping[str, Any]) -> str:
    """A row a claim, then every measurement of every variant with its spread."""
    lines = ["| claim | expected | verdict | seeds that show it |", "|---|---|---|---|"]
    for name, record in records.items():
        seeds = f"{record['seeds_that_show']} of {record['seeds']}" if "seeds" in record else "-"
        says = f"**{name}**: {record['says']}".replace("|", "\\|")
        lines.append(f"| {says} | `{record['expect']}` | {record['verdict']} | {seeds} |")
    for name, record in records.items():
        lines += [
            "",
            f"{name}, mean ± standard deviation over seeds:" if "mean" in record else f"{name}:",
            "",
        ]
        lines += _table(record) if "mean" in record else [f"* {line}" for line in record["failures"]]
        versions = ", ".join(f"{library} {version}" for library, version in record["versions"].items())
        spent = f"; {record['spent_minutes']:.0f} process minutes" if "spent_minutes" in record else ""
        lines += ["", f"`{record['command']}`, {record['date']}, {versions}, {record['machine']}{spent}."]
    return "\n".join(lines)


def report(records: Mapping[str, Any]) -> str:
    """The same for the screen."""
    lines = []
    for name, record in records.items():
        seeds = f", in {record['seeds_that_show']} of {record['seeds']} seeds" if "seeds" in record else ""
        lines += [
            f"{name}: {record['verdict']}{seeds}",
            f"  {record['says']}",
            f"  expected {record['expect']}",
        ]
        for variant, means in record.get("mean", {}).items():
            spread = record["spread"][variant]
            cells = [f"{metric} {_cell(mean, spread[metric])}" for metric, mean in means.items()]
            lines.append(f"  {variant:<16} {'  '.join(cells)}")
        lines += [f"  {line}" for line in record.get("failures", [])]
    return "\n".join(lines)


def _table(record: Mapping[str, Any]) -> list[str]:
    """A row a variant; a row a metric where these are many."""
    by_variant = record["mean"]
    metrics = list(dict.fromkeys(metric for means in by_variant.values() for metric in means))

    def cell(variant: str, metric: str) -> str:
        if metric not in by_variant[variant]:
            return "-"
        return _cell(by_variant[variant][metric], record["spread"][variant][metric])

    if len(metrics) > WIDE:
        rows = {metric: [cell(variant, metric) for variant in by_variant] for metric in metrics}
        head = ["metric", *by_variant]
    else:
        rows = {variant: [cell(variant, metric) for metric in metrics] for variant in by_variant}
        head = ["variant", *metrics]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def _cell(mean: Value, spread: Value | None) -> str:
    if isinstance(mean, int | float):
        return f"{mean:.4g}" + (f" ± {spread:.2g}" if isinstance(spread, int | float) else "")
    return ", ".join(f"{x:g}: {y:.4g}" for x, y in mean)


def _mean(values: Sequence[Value]) -> Value:
    numbers = [value for value in values if isinstance(value, int | float)]
    return fmean(numbers) if numbers else _by_point(fmean, values)


def _spread(values: Sequence[Value]) -> Value | None:
    """Sample standard deviation; None for a single seed."""
    if len(values) < 2:
        return None
    numbers = [value for value in values if isinstance(value, int | float)]
    if not all(map(math.isfinite, numbers)):
        return math.nan
    return stdev(numbers) if numbers else _by_point(stdev, values)


def _by_point(statistic: Callable[[list[float]], float], curves: Sequence[Any]) -> list[list[float]]:
    return [[points[0][0], statistic([y for _, y in points])] for points in zip(*curves, strict=True)]


def _named(by_variant: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    """Results as an expectation names them."""
    named = {f"{v}.{metric}": value for v, found in by_variant.items() for metric, value in found.items()}
    return named | {v: next(iter(found.values())) for v, found in by_variant.items() if len(found) == 1}


def _commit() -> str:
    """The commit of this code, with a + where it was changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.yaml")
        return git("rev-parse", "--short", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)
