"""A decoder that hangs or kills its worker ends the run with the names of its videos; memory stays flat."""

import os
from pathlib import Path

import pytest

from datamodules import SourceError
from datamodules.held_out import HeldOutLoader
from datamodules.loader import ClipLoader
from datamodules.videos import Videos
from tests.datamodules.numbered_clips import Hanging
from tests.media import write_video


@pytest.mark.parametrize("way", ["hangs", "died"])
def test_the_videos_are_named_and_the_batches_before_are_whole(way):
    """The timeout also covers the start of the worker, which takes a while on a busy machine."""
    loader = ClipLoader(Hanging(way), batch_size=2, num_batches=4, seed=0, num_workers=1, timeout=25)
    seen: list[str] = []
    with pytest.raises(SourceError, match=rf"a worker {way} over one of .*video_5\.mp4"):
        seen.extend(name for batch in loader for name in batch["id"])
    assert "5" not in seen


def test_held_out_videos_are_named_too():
    held_out = HeldOutLoader(Hanging("died"), batch_size=2, num_clips=8, num_workers=1, timeout=60)
    with pytest.raises(SourceError, match=r"a worker died over one of .*video_4\.mp4, video_5\.mp4"):
        list(held_out)


def memory() -> float:
    """MiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(folder: Path, clips: int, warm: int) -> float:
    """MiB by which reading so many clips of twenty videos grows memory, after the first `warm` ones."""
    for number in range(20):
        write_video(folder / f"{number}.mp4", 60, height=120, width=160)
    dataset = Videos(root=str(folder), num_frames=12, height=64, width=64).split("train")
    before = 0.0
    for number in range(warm + clips):
        if number == warm:
            before = memory()
        dataset[number * 37 % len(dataset)]
        assert len(dataset.open_videos) <= 8
    return memory() - before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_stays_flat(tmp_path):
    assert growth(tmp_path, clips=200, warm=100) < 8
