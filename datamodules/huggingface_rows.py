"""Windows cut out of rows: a row holds a video or a list of images, as `datasets` hands it over undecoded."""

import hashlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps

from components.clip import Clip
from datamodules import SourceError
from datamodules.decoding import Unreadable, VideoFile, as_video
from datamodules.probing import probe_video
from datamodules.stills import fit


@dataclass(frozen=True)
class ClipCutter:
    """Cuts clips of one size out of rows.

    Raises: Unreadable where a row has no such clip.
    """

    name: str  # of the source, begins the clips' ids
    folder: Path  # where relative paths in a row begin
    video_column: str
    text_column: str | None
    num_frames: int
    height: int
    width: int
    fps: float | None
    assumed_fps: float

    def cut(self, row: dict[str, Any], where: float, label: str) -> Clip:
        """The window at `where` in [0, 1): of all windows that a video has, 0 is the first, 0.99 the last."""
        cell = row[self.video_column]
        if isinstance(cell, list):
            clip, start = self._of_images(cell, where)
        elif isinstance(data := content(cell, self.folder), Path):
            clip, start = self._of_video(data, where)
        else:
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                clip, start = self._of_video(Path(file.name), where)
        clip["id"] = f"{self.name}/{label}@{start}"
        if self.text_column:
            clip["text"] = read_text(row, self.text_column)
        return clip

    def picks(self) -> np.ndarray:
        """Which images of a window are taken, counted from its start."""
        step = self.assumed_fps / (self.fps or self.assumed_fps)
        return np.floor(np.arange(self.num_frames) * step + 0.5).astype(int)

    def _of_images(self, images: list[Any], where: float) -> tuple[Clip, str]:
        picks = self.picks()
        places = len(images) - int(picks[-1])
        if places < 1:
            raise Unreadable(f"{len(images)} images, not {picks[-1] + 1}")
        start = int(where * places)
        video = np.stack([self._picture(images[start + pick]) for pick in picks])
        return Clip(video=as_video(video), fps=torch.tensor(float(self.fps or self.assumed_fps))), str(start)

    def _picture(self, cell: Any) -> UInt8[np.ndarray, "h w 3"]:
        return decode_picture(content(cell, self.folder), self.height, self.width)

    def _of_video(self, path: Path, where: float) -> tuple[Clip, str]:
        info = probe_video(str(path))
        recorded = info.fps or 1.0
        fps = float(self.fps or recorded)
        spare = (info.duration or 0.0) - (self.num_frames - 1) / fps + 0.5 / recorded
        if spare <= 0:
            raise Unreadable(
                f"{info.num_frames} frames are too short for {self.num_frames} at {fps:g} a second"
            )
        start = int(where * np.ceil(spare * recorded)) / recorded
        reader = VideoFile(info)
        try:
            clip = reader.read([start + i / fps for i in range(self.num_frames)], self.height, self.width)
        finally:
            reader.close()
        clip["fps"] = torch.tensor(fps)
        return clip, f"{start:.3f}s"


def content(cell: Any, folder: Path) -> bytes | Path:
    """What a cell holds or points at; what is not on this machine is fetched."""
    path = cell
    if isinstance(cell, dict):
        path = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
    if isinstance(path, bytes):
        return path
    if not path:
        raise Unreadable("nothing in it")
    for local in (Path(path), folder / path):
        if local.is_file():
            return local
    if "://" not in path:
        raise Unreadable(f"names {path}, which is not there")
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise Unreadable(f"names {path}, which cannot be fetched") from error


def decode_picture(data: bytes | Path, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A stored picture, scaled and cropped as frames of videos are. Raises: Unreadable."""
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            return fit(ImageOps.exif_transpose(image).convert("RGB"), height, width)
    except (OSError, ValueError, SyntaxError) as error:
        raise Unreadable("an image that does not open") from error


def read_text(row: dict[str, Any], column: str) -> str:
    """A caption, also `json.caption` inside a column `json`; of several the first."""
    value: Any = row
    for key in column.split("."):
        if not isinstance(value, dict) or key not in value:
            raise SourceError(
                f"data.text_column={column}: no {key!r} in a row; it has: {', '.join(value or ())}"
            )
        value = value[key]
    if isinstance(value, list):
        value = value[0] if value else ""
    return "" if value is None else str(value)


def fingerprint(cell: Any) -> int:
    """A number for a video that is the same wherever it lies in a stream, and on which machine.

    Of what is stored, the bytes; of what is named, the file and its folder. Of images the first and the last.
    """
    digest = hashlib.blake2b(digest_size=7)
    parts = [cell[0], cell[-1], str(len(cell))] if isinstance(cell, list) and cell else [cell]
    for part in parts:
        if isinstance(part, dict):
            part = part.get("path") if part.get("bytes") is None else part["bytes"]
        digest.update(part if isinstance(part, bytes) else "/".join(str(part).split("/")[-2:]).encode())
    return int.from_bytes(digest.digest(), "big")
