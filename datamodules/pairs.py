"""Generated videos and the true ones of the same names, frame by frame."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from components.clip import Clip
from datamodules import SourceError
from datamodules.decoding import VideoInfo
from datamodules.video_index import find_videos, open_video, probe_all


def paired_videos(
    generated: Path, reference: Path
) -> Iterator[tuple[UInt8[Tensor, "t 3 h w"], UInt8[Tensor, "t 3 h w"], Clip]]:
    """Pairs of one name (suffixes may differ), in the reference's frame rate and size, cut to the shorter.

    Raises: SourceError where a folder has no usable video, or no name stands in both.
    """
    made, true = _by_stem(generated), _by_stem(reference)
    shared = sorted(made.keys() & true.keys())
    if not shared:
        raise SourceError(f"{generated} and {reference}: no video of the same name in both")
    for name in shared:
        fps = true[name].fps or made[name].fps or 10.0
        seconds = min(info.duration or 0.0 for info in (made[name], true[name]))
        times = [i / fps for i in range(int(seconds * fps) + 1)]
        height, width = true[name].height, true[name].width
        videos = [open_video(info).read(times, height, width)["video"] for info in (made[name], true[name])]
        clip = Clip(video=videos[1][None], fps=torch.tensor([fps]), id=[name], text=[""])
        yield videos[0], videos[1], clip


def _by_stem(folder: Path) -> dict[str, VideoInfo]:
    infos, _ = probe_all(find_videos(str(folder)))
    return {str(Path(name).with_suffix("")): info for name, info in infos.items()}
