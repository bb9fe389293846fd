"""Clips a second of the loader over those of the bare decoder: `python benchmarks/loader.py root=FOLDER`.

Both deliver the same clips of the same videos in the same order, in one process and without workers. The
bare decoder is PyAV alone: files kept open, seek, decode, scale to cover, crop; no checks, no splits, no
batches, no state to resume from. They take turns, a pass over the clips each.

Options: root (a folder of videos), clips (default 200), num_frames (12), side (64 pixels), repeats (5).
"""

import statistics
import sys
import time
from pathlib import Path

import av
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datamodules.decoding import _FILTER, scaled_size
from datamodules.loader import ClipLoader
from datamodules.videos import VideoClips, Videos

BATCH = 8


def clip_places(dataset: VideoClips, ids: list[str]) -> list[tuple[str, float]]:
    """File and time in seconds of clips, from their ids."""
    paths = {stretch.name: stretch.info.path for stretch in dataset.stretches}
    split = (name.rpartition("@") for name in ids)
    return [(paths[name], float(when.removesuffix("s"))) for name, _, when in split]


def bare(places: list[tuple[str, float]], num_frames: int, side: int) -> None:
    """Decode every clip with PyAV and nothing else."""
    open_files: dict[str, av.container.InputContainer] = {}
    for path, when in places:
        if path not in open_files:
            open_files[path] = av.open(path)
            open_files[path].streams.video[0].thread_count = 1
        container = open_files[path]
        stream = container.streams.video[0]
        start = float((stream.start_time or 0) * stream.time_base) + when
        container.seek(round(start / stream.time_base), stream=stream)
        reformatter, kept = av.video.reformatter.VideoReformatter(), []
        for frame in container.decode(stream):
            if frame.time >= start - 1e-6:
                rows, columns = scaled_size(frame.height, frame.width, side, side)
                picture = reformatter.reformat(
                    frame, columns, rows, "rgb24", interpolation=_FILTER, threads=1
                ).to_ndarray()
                top, left = (rows - side) // 2, (columns - side) // 2
                kept.append(torch.from_numpy(picture[top : top + side, left : left + side].copy()))
            if len(kept) == num_frames:
                break
        torch.stack(kept).permute(0, 3, 1, 2)
    for container in open_files.values():
        container.close()


def main(options: dict[str, str]) -> None:
    torch.set_num_threads(1)
    clips, repeats = int(options.get("clips", 200)), int(options.get("repeats", 5))
    num_frames, side = int(options.get("num_frames", 12)), int(options.get("side", 64))
    source = Videos(root=options["root"], num_frames=num_frames, height=side, width=side)
    dataset = source.split("train")

    def load() -> list[str]:
        loader = ClipLoader(
            dataset, batch_size=BATCH, num_batches=clips // BATCH, seed=0, rank=0, world_size=1,
            num_workers=0, timeout=60.0,
        )  # fmt: skip
        return [name for batch in loader for name in batch["id"]]

    places = clip_places(dataset, load())
    bare(places, num_frames, side)
    ratios, ours, theirs = [], [], []
    for _ in range(repeats):
        start = time.perf_counter()
        load()
        middle = time.perf_counter()
        bare(places, num_frames, side)
        end = time.perf_counter()
        ours.append(len(places) / (middle - start))
        theirs.append(len(places) / (end - middle))
        ratios.append(ours[-1] / theirs[-1])
    print(f"{len(places)} clips of {num_frames} frames at {side}x{side}, {repeats} turns each, medians")
    print(f"loader        {statistics.median(ours):8.1f} clips/s")
    print(f"bare decoder  {statistics.median(theirs):8.1f} clips/s")
    print(f"ratio         {statistics.median(ratios):8.3f}   ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if "root" not in given:
        sys.exit("benchmarks/loader.py: root=FOLDER is missing: a folder of videos")
    main(given)
