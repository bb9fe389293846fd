"""Forty broken videos beside four good ones: the run trains on the good ones and lists the forty.

python -m tests.stress.broken_videos steps=4
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from datamodules.videos import Videos
from tests.media import damage, write_broken, write_video

ROOT = Path(__file__).resolve().parents[2]
GOOD, COPIES = 4, 5
TRAINING = [
    "recipe=savp", "data=videos", "loader.batch_size=2", "loader.val_clips=1", "trainer.accelerator=cpu",
    "~callbacks.rollouts", "~callbacks.throughput",
]  # fmt: skip


def write_changing_size(path: Path) -> Path:
    """A stream whose frames double in size half way: two MPEG programme streams one after the other."""
    parts = []
    for side in (32, 64):
        part = write_video(
            path.with_name(f"{side}.mpg"), 20, fps=25, codec="mpeg2video", height=side, width=side
        )
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))
    return path


def write_folder(folder: Path) -> list[str]:
    """Four good videos and forty broken ones of eight kinds; the names of the broken ones."""
    for number in range(GOOD):
        write_video(folder / f"good_{number}.mp4", 40)
    kinds = write_broken(folder / "kinds")
    sources = {name: kinds[name] for name in ("empty", "text", "cut_early", "cut_late", "sound", "wave")}
    damaged = write_video(folder / "kinds" / "corrupt.mp4", 40)
    sources["corrupt"] = damage(damaged, 0.0, 1.0)
    sources["changing_size"] = write_changing_size(folder / "kinds" / "changing_size.mpg")
    names = []
    for kind, source in sources.items():
        for number in range(COPIES):
            names.append(f"broken/{kind}_{number}{source.suffix}")
            (folder / "broken").mkdir(exist_ok=True)
            shutil.copy(source, folder / names[-1])
    shutil.rmtree(folder / "kinds")
    return names


def listed(folder: Path, broken: list[str]) -> dict[str, str]:
    """What the source says of each broken video, on indexing it or on reading its clips."""
    source = Videos(root=str(folder), num_frames=12, height=32, width=32)
    skipped = source.skipped
    return {name: skipped[name] for name in broken if name in skipped}


def train(folder: Path, run: Path, steps: int) -> str:
    """Train on the folder; everything that the run said."""
    tokens = [*TRAINING, f"data.root={folder}", f"trainer.max_steps={steps}", f"run_dir={run}"]
    process = subprocess.run(
        [sys.executable, "train.py", *tokens], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if process.returncode:
        raise RuntimeError(process.stdout + process.stderr)
    return process.stdout + process.stderr


def finite(run: Path) -> bool:
    from safetensors.torch import load_file

    weights = load_file(run / "train" / "model" / "model.safetensors")
    return all(np.isfinite(tensor.numpy()).all() for tensor in weights.values())


def main(tokens: list[str]) -> int:
    steps = int(dict(token.split("=") for token in tokens).get("steps", 4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "videos"
        broken = write_folder(folder)
        found = listed(folder, broken)
        said = train(folder, Path(name) / "run", steps)
        print(said)
        for video in broken:
            print(f"{video:<32} {found.get(video, 'NOT LISTED')}")
        whole = finite(Path(name) / "run")
        print(f"{len(found)} of {len(broken)} listed; trained {steps} steps, finite: {whole}")
    return int(len(found) < len(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
