"""What our benchmarks share: two of a kind in turns in one process, times, memory, parts by name."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def in_turns(repeats: int, *runs: Callable[[], object]) -> list[tuple[list[float], list[float]]]:
    """(seconds of the clock, seconds of CPU) of every run after one unmeasured round."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in runs]
    for measured in range(-1, repeats):
        for run, (clock, cpu) in zip(runs, times, strict=True):
            began, began_cpu = time.perf_counter(), time.process_time()
            run()
            if measured >= 0:
                clock.append(time.perf_counter() - began)
                cpu.append(time.process_time() - began_cpu)
    return times


def show(name: str, times: tuple[Sequence[float], Sequence[float]], more: str = "") -> None:
    clock, cpu = times
    middle, middle_cpu = statistics.median(clock), statistics.median(cpu)
    print(f"{name:34} {middle:8.3f} s ({min(clock):.3f} to {max(clock):.3f}), CPU {middle_cpu:.3f} s {more}")


def show_ratio(ours: tuple[list[float], list[float]], theirs: tuple[list[float], list[float]]) -> None:
    clock, cpu = (statistics.median(a) / statistics.median(b) for a, b in zip(ours, theirs, strict=True))
    print(f"{'ours / theirs':34} {clock:8.3f} by the clock, {cpu:.3f} by CPU seconds")


def autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def resident(field: str) -> float:
    """MiB of this process by the kernel's count: VmRSS is held now, VmHWM was at most."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


def show_peaks(name: str, script: str, theirs: str, *words: str) -> None:
    """Peak memory of ours and theirs, in a process each: the script's child with who and the words."""
    peaks = []
    for who in ("ours", theirs):
        job = ["child", who, *words, f"threads={torch.get_num_threads()}"]
        printed = subprocess.check_output([sys.executable, script, *job], text=True)
        before, peak = map(float, printed.split()[-2:])
        peaks.append(peak - before)
    ours, other = peaks
    print(f"{name:34} {ours:.0f} of {other:.0f} MiB above the imports: {ours / other:.2f}")


def run_parts(
    script: str,
    parts: dict[str, Callable[[int], None]],
    words: list[str],
    child: Callable[..., None] | None = None,
) -> None:
    """Run the parts that are named, or all, with the threads and repeats of `threads=` and `repeats=`.

    child: what a process of show_peaks runs instead.
    """
    options = dict(word.split("=") for word in words if "=" in word)
    threads, repeats = int(options.get("threads", 1)), int(options.get("repeats", 5))
    torch.set_num_threads(threads)
    chosen = [word for word in words if "=" not in word]
    if child is not None and chosen[:1] == ["child"]:
        child(*chosen[1:])
        return
    if unknown := set(chosen) - set(parts):
        told = f"no part {', '.join(sorted(unknown))}; there are: {', '.join(parts)}"
        sys.exit(f"{Path(script).name}: {told}")
    print(f"{threads} threads, {repeats} repeats, torch {torch.__version__}")
    for part in chosen or parts:
        parts[part](repeats)
