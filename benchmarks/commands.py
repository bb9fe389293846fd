"""How long commands take before anything is learned: `python benchmarks/commands.py [ckpt=RUN] [repeats=3]`.

Each is a process of its own, the median of several. With a checkpoint the suites are timed too, on few clips.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "list recipes": ["train.py"],
    "help": ["train.py", "recipe=savp", "help=true"],
    "a typo": ["train.py", "recipe=savp", "trianer.max_steps=1"],
    "dry run": ["train.py", "recipe=savp", "dry=true"],
    "train one step": [
        "train.py", "recipe=savp", "trainer.max_steps=1", "loader.val_clips=1", "~callbacks.rollouts",
    ],
}  # fmt: skip
SUITES = {"video": ["suite.samples=2"], "physics": [], "long": []}


def seconds(words: list[str], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = [f"run_dir={folder}/run"] if "train one" in words[0] else []
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *words[1:], *out], cwd=ROOT, check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(options: dict[str, str]) -> None:
    repeats = int(options.get("repeats", 3))
    print(f"{'command':<28} seconds, median of {repeats}")
    for name, words in COMMANDS.items():
        print(f"{name:<28} {seconds([name, *words], repeats):.1f}", flush=True)
    if "ckpt" in options:
        for suite, changes in SUITES.items():
            with tempfile.TemporaryDirectory() as folder:
                words = [
                    "evaluate.py",
                    f"ckpt={options['ckpt']}",
                    f"suite={suite}",
                    "clips=16",
                    f"out={folder}",
                ]
                print(
                    f"{f'suite={suite}, 16 clips':<28} {seconds([suite, *words, *changes], 1):.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word))
