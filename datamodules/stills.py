"""Videos that need no decoder: folders of numbered images, and arrays in .npz files."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from components.clip import Clip
from datamodules.decoding import EPSILON, Unreadable, VideoInfo, as_video, in_words, scaled_size

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
_LAYOUTS = "(t, h, w, 3) or (t, 3, h, w) uint8"


class ImageFolder:
    """A folder of numbered images, in the order of their numbers."""

    def __init__(self, info: VideoInfo) -> None:
        self.info, self._paths = info, numbered_images(Path(info.path))

    def read(self, times: Sequence[float], height: int, width: int) -> Clip:
        """See Reader."""
        pictures = np.empty((len(times), height, width, 3), np.uint8)
        for row, place in zip(pictures, nearest_frames(self.info, times), strict=True):
            row[:] = fit(_load(self._paths[min(place, len(self._paths) - 1)]), height, width)
        return Clip(video=as_video(pictures))

    def close(self) -> None:
        """Nothing is open."""


class ArrayFile:
    """An .npz: video (t, h, w, 3) or (t, 3, h, w) uint8; fps, actions (t-1 or t, a), state (t, s) if there.

    Arrays that were saved without compression stay on disk; compressed ones are held while the file is open.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        try:
            self._video = map_array(info.path, "video")
            with np.load(info.path, allow_pickle=False) as arrays:
                self._others = {name: arrays[name] for name in ("actions", "state") if name in arrays}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise Unreadable(f"not an .npz of arrays ({in_words(error)})") from error

    def read(self, times: Sequence[float], height: int, width: int) -> Clip:
        """See Reader; where every k-th frame is taken, actions are the k ones of a step side by side."""
        places = nearest_frames(self.info, times)
        frames = self._video[places]
        if frames.shape[-1] != 3:
            frames = frames.transpose(0, 2, 3, 1)
        clip = Clip(video=as_video(np.stack([fit(Image.fromarray(f), height, width) for f in frames])))
        if "actions" in self._others and len(places) > 1:
            taken = self._others["actions"][places[0] : places[-1]]
            clip["actions"] = torch.tensor(taken.reshape(len(places) - 1, -1), dtype=torch.float32)
        if "state" in self._others:
            clip["state"] = torch.tensor(self._others["state"][places], dtype=torch.float32)
        return clip

    def close(self) -> None:
        del self._video, self._others


def probe_images(path: str) -> VideoInfo:
    """Size and number of the images; opens the first and the last. Raises: Unreadable."""
    paths = numbered_images(Path(path))
    first, _ = _load(paths[0]), _load(paths[-1])
    return VideoInfo(path=path, num_frames=len(paths), height=first.height, width=first.width)


def probe_array(path: str) -> VideoInfo:
    """Shapes, from the heads of the arrays. Raises: Unreadable."""
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {name.removesuffix(".npy"): _head(archive, name) for name in archive.namelist()}
        with np.load(path, allow_pickle=False) as arrays:
            fps = float(arrays["fps"]) if "fps" in arrays else None
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise Unreadable(f"not an .npz of arrays ({in_words(error)})") from error
    if "video" not in shapes:
        raise Unreadable(f"has no array `video`, only {', '.join(sorted(shapes)) or 'nothing'}")
    shape, dtype = shapes["video"]
    if len(shape) != 4 or 3 not in (shape[3], shape[1]) or dtype != np.uint8:
        raise Unreadable(f"`video` is {shape} {dtype}, not {_LAYOUTS}")
    if fps is not None and not 0 < fps < float("inf"):
        raise Unreadable(f"fps is {fps}")
    frames = shape[0]
    dims = {}
    for name, lengths in (("actions", (frames - 1, frames)), ("state", (frames,))):
        of_array = shapes[name][0] if name in shapes else (frames, 0)
        if len(of_array) != 2 or of_array[0] not in lengths:
            raise Unreadable(f"`{name}` is {of_array} beside a video of {frames} frames")
        dims[name] = of_array[1]
    height, width = shape[1:3] if shape[3] == 3 else shape[2:4]
    return VideoInfo(
        path=path,
        num_frames=frames,
        height=height,
        width=width,
        fps=fps,
        duration=None if fps is None else (frames - 1) / fps,
        action_dim=dims["actions"],
        state_dim=dims["state"],
    )


def numbered_images(folder: Path) -> list[Path]:
    """Images whose names end in a number, by number and then by name: frame_2.png before frame_10.png."""
    numbered = []
    for path in folder.iterdir():
        number = re.search(r"(\d+)$", path.stem)
        if number and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            numbered.append((int(number[1]), path.name, path))
    return [path for *_, path in sorted(numbered)]


def nearest_frames(info: VideoInfo, times: Sequence[float]) -> np.ndarray:
    """The frame nearest to each time, at fps frames per second; of two equally near ones the earlier."""
    places = np.ceil(np.asarray(times) * (info.fps or 1.0) - 0.5 - EPSILON).astype(int)
    return places.clip(0, info.num_frames - 1)


def fit(image: Image.Image, height: int, width: int) -> np.ndarray:
    """An image scaled so that it just covers (height, width), antialiased, and cropped to its centre."""
    rows, columns = scaled_size(image.height, image.width, height, width)
    if (columns, rows) != image.size:
        image = image.resize((columns, rows), Image.Resampling.BILINEAR)
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.asarray(image)[top : top + height, left : left + width]


def map_array(path: str, name: str) -> np.ndarray:
    """One array of an .npz, left on disk if it lies there uncompressed."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")  # of the name and of the extra field before the array
        file.seek(int(lengths.sum()), 1)
        shape, fortran, dtype = _array_head(file)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _load(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise Unreadable(f"image {path.name} does not open") from error


def _head(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(name) as file:
        shape, _, dtype = _array_head(file)
    return shape, dtype


def _array_head(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
