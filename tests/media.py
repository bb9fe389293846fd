"""Tiny videos for tests, written with PyAV: frame k of each carries the number k in its pixels.

The number is a picture of 4 x 3 black or white blocks, one a bit, so that it survives lossy codecs, resizing
and colour conversion, and a test can ask which frame it got.
"""

import shutil
import struct
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

_COLUMNS, _ROWS = 4, 3
_TICKS = 90_000  # ticks a second; 30, 25 and 24000/1001 fps all fall near whole ticks
MATRICES = {  # display matrices of an mp4 (a, b, c, d), by what a player does before showing the frame
    "as is": (1, 0, 0, 1),
    "turn right": (0, 1, -1, 0),
    "turn left": (0, -1, 1, 0),
    "upside down": (-1, 0, 0, -1),
    "mirror": (-1, 0, 0, 1),
}


def numbered_frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame (h, w, 3) uint8 that shows number < 4096 as black and white blocks."""
    bits = (number >> np.arange(_COLUMNS * _ROWS)) & 1
    picture = np.where(bits.reshape(_ROWS, _COLUMNS), 235, 20).astype(np.uint8)
    rows = np.arange(height) * _ROWS // height
    columns = np.arange(width) * _COLUMNS // width
    return np.repeat(picture[rows][:, columns, None], 3, axis=2)


def read_number(frame: np.ndarray) -> int:
    """The number that a frame (3, h, w) shows."""
    gray = np.asarray(frame, dtype=np.float64).mean(axis=0)
    height, width = gray.shape
    rows = (2 * np.arange(_ROWS) + 1) * height // (2 * _ROWS)
    columns = (2 * np.arange(_COLUMNS) + 1) * width // (2 * _COLUMNS)
    bits = (gray[rows][:, columns] > 128).reshape(-1)
    return int((bits << np.arange(_COLUMNS * _ROWS)).sum())


def read_numbers(video: np.ndarray) -> list[int]:
    """The numbers that a clip (t, 3, h, w) shows."""
    return [read_number(frame) for frame in np.asarray(video)]


def write_video(
    path: Path,
    num_frames: int = 40,
    *,
    fps: float | Fraction = 10,
    times: Sequence[float] | None = None,
    frames: Sequence[np.ndarray] | None = None,
    height: int = 48,
    width: int = 64,
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    pixel_aspect: Fraction = Fraction(1),
    audio: bool = False,
) -> Path:
    """Write num_frames numbered frames (or the given ones) at k / fps, or at the given times in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [float(k / Fraction(fps)) for k in range(num_frames)] if times is None else times
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = (height, width) if frames is None else frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size, stream.max_b_frames = gop, b_frames
        stream.sample_aspect_ratio = pixel_aspect
        tick = 1 / rate if path.suffix in (".avi", ".mpg") else Fraction(1, _TICKS)  # these only count frames
        stream.time_base = stream.codec_context.time_base = tick
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "bf": str(b_frames)}
        stream.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=8000) if audio else None
        for k, time in enumerate(times):
            picture = numbered_frame(k, height, width) if frames is None else frames[k]
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.time_base, frame.pts = tick, round(time / tick)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_silence(container, sound, times[-1])
    return path


def write_three(folder: Path, **options) -> Path:
    """A folder of three videos of 12 frames, a.mp4, b.mp4 and c.mp4: one for each split."""
    first = write_video(folder / "a.mp4", 12, **options)
    for name in ("b", "c"):
        shutil.copy(first, folder / f"{name}.mp4")
    return folder


def _write_silence(container, stream, seconds: float) -> None:
    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Make an mp4 ask its player for a turn or a mirror, as phones do (see MATRICES)."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    box = data.index(b"tkhd") + 4
    struct.pack_into(">9i", data, box + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_images(folder: Path, num_frames: int = 40, *, height: int = 48, width: int = 64) -> Path:
    """A folder of numbered images; their names sort wrongly as text: 0.png, 1.png, ..., 10.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(num_frames):
        Image.fromarray(numbered_frame(k, height, width)).save(folder / f"{k}.png")
    return folder


def write_npz(
    path: Path,
    num_frames: int = 40,
    *,
    fps: float | None = None,
    height: int = 48,
    width: int = 64,
    channels_first: bool = False,
    compressed: bool = False,
    **arrays: np.ndarray,
) -> Path:
    """An .npz of numbered frames beside the given arrays (actions, state)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video = np.stack([numbered_frame(k, height, width) for k in range(num_frames)])
    arrays["video"] = video.transpose(0, 3, 1, 2) if channels_first else video
    if fps is not None:
        arrays["fps"] = np.float64(fps)
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def write_broken(folder: Path) -> dict[str, Path]:
    """One file of each kind that cannot be used, by what is wrong with it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.mp4" for name in ("empty", "text", "cut_early", "cut_late")}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("this is no video\n" * 50)
    whole = write_video(folder / "whole.mp4", 100).read_bytes()
    paths["cut_early"].write_bytes(whole[: len(whole) // 2])  # the table of frames, at the end, is gone
    paths["cut_late"].write_bytes(_table_first(whole)[: -len(whole) // 10])  # it is there, the frames are not
    (folder / "whole.mp4").unlink()
    paths["sound"] = folder / "sound.mp4"
    with av.open(str(paths["sound"]), "w") as container:
        _write_silence(container, container.add_stream("aac", rate=8000), 3.0)
    paths["wave"] = folder / "wave.mp4"
    with wave.open(str(paths["wave"]), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    paths["short"] = write_video(folder / "short.mp4", 3)
    paths["document"] = folder / "document.pdf"
    paths["document"].write_bytes(b"%PDF-1.4")
    return paths


def _table_first(data: bytes) -> bytes:
    """The same mp4 with its table of frames (moov) before the frames (mdat), as for the web."""
    boxes, at = [], 0
    while at < len(data):
        size = struct.unpack_from(">I", data, at)[0]
        boxes.append(data[at : at + size])
        at += size
    moov = bytearray(next(box for box in boxes if box[4:8] == b"moov"))
    table = moov.index(b"stco") + 8  # chunk offsets: count, then 32-bit places in the file
    for place in range(table + 4, table + 4 + 4 * struct.unpack_from(">I", moov, table)[0], 4):
        struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(moov))
    kept = [box for box in boxes if box[4:8] != b"moov"]
    return kept[0] + bytes(moov) + b"".join(kept[1:])


def damage(path: Path, first: float, last: float) -> Path:
    """Overwrite the pictures of an mp4 from one share of their bytes to another; head and table stay."""
    data = bytearray(path.read_bytes())
    box = data.index(b"mdat") - 4
    size = struct.unpack_from(">I", data, box)[0] - 8
    begin, end = (box + 8 + int(share * size) for share in (first, last))
    data[begin:end] = bytes((31 * k + 7) % 256 for k in range(end - begin))
    path.write_bytes(data)
    return path
