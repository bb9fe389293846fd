"""Episodes on their way into a LeRobotDataset: each in a file of its own, whole or not there at all.

Any process may leave one, in any order; `LeRobotWriter` joins them. Pictures are kept exactly: H.264 without
loss and in RGB took 1.1 kB for a rendered frame of 64 x 64, the common 4:2:0 at crf 18 took 0.6 kB and left a
PSNR of 30 dB, since it halves the resolution of colours. Both encode about 4,000 frames a second.
"""

import io
import json
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

CODEC = "libx264rgb"
# Without loss; every second frame is a key frame, so that any frame is quick to reach.
_EXACT = {"qp": "0", "preset": "veryfast", "tune": "zerolatency", "g": "2"}

Stats = dict[str, np.ndarray]  # min, max, mean, std, count


@dataclass(frozen=True)
class RecordedEpisode:
    """t frames, and t - 1 actions that each lead from one frame to the next.

    videos: by camera.  success: whether the task was done after each action.  text: the task in words.
    """

    videos: dict[str, UInt8[np.ndarray, "t h w 3"]]
    states: Float32[np.ndarray, "t s"]
    actions: Float32[np.ndarray, "n a"]
    success: Bool[np.ndarray, " n"]
    text: str


@dataclass(frozen=True)
class KeptEpisode:
    """The same as it lies in its file: videos as mp4, and the statistics of every feature as lists."""

    videos: dict[str, bytes]
    states: Float32[np.ndarray, "t s"]
    actions: Float32[np.ndarray, "n a"]
    success: Bool[np.ndarray, " n"]
    text: str
    stats: dict[str, dict[str, list]]


def episode_file(root: Path, index: int) -> Path:
    """Where an episode waits to be joined."""
    return root / "unjoined" / f"episode_{index:06d}.npz"


def keep_episode(root: Path, index: int, episode: RecordedEpisode, *, fps: int) -> None:
    """Leave an episode for the writer of this folder."""
    stats = {f"observation.images.{name}": of_pictures(video) for name, video in episode.videos.items()}
    stats |= {"observation.state": of_numbers(episode.states), "action": of_numbers(row_actions(episode))}
    numbers = {key: {name: value.tolist() for name, value in of.items()} for key, of in stats.items()}
    entries: dict[str, Any] = {
        "states": episode.states,
        "actions": episode.actions,
        "success": episode.success,
        "about": np.array(json.dumps({"text": episode.text, "stats": numbers})),
    }
    for camera, video in episode.videos.items():
        entries[f"videos/{camera}"] = np.frombuffer(encode(video, fps), dtype=np.uint8)
    file = episode_file(root, index)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("wb") as stream:
        np.savez(stream, **entries)
    unfinished.replace(file)


def read_kept(file: Path) -> KeptEpisode:
    """What `keep_episode` left."""
    with np.load(file) as entries:
        about = json.loads(str(entries["about"]))
        films = [entry for entry in entries.files if entry.startswith("videos/")]
        return KeptEpisode(
            videos={film.removeprefix("videos/"): entries[film].tobytes() for film in films},
            states=entries["states"],
            actions=entries["actions"],
            success=entries["success"],
            text=about["text"],
            stats=about["stats"],
        )


def row_actions(episode: RecordedEpisode | KeptEpisode) -> Float32[np.ndarray, "t a"]:
    """One action a frame: none leads away from the last, whose row is zeros."""
    return np.pad(episode.actions, ((0, 1), (0, 0)))


def frame_table(episode: KeptEpisode, *, index: int, first: int, task_index: int, fps: int) -> Any:
    """The rows of data/: a frame and the action that leads to the next one.

    index: of the episode; first: of its first frame.  next.success: whether the task was done after the
    row's action; the last row repeats how the episode ended.
    """
    import pyarrow as pa

    n = len(episode.states)
    columns = {
        "observation.state": _column(episode.states),
        "action": _column(row_actions(episode)),
        "next.success": np.append(episode.success, episode.success[-1:].any()),
        "timestamp": (np.arange(n) / fps).astype(np.float32),
        "frame_index": np.arange(n),
        "episode_index": np.full(n, index),
        "index": np.arange(first, first + n),
        "task_index": np.full(n, task_index),
    }
    return pa.table(columns)


def _column(values: np.ndarray) -> Any:
    """(n, d) as lists of d; a single number is kept as itself, as LeRobot does."""
    import pyarrow as pa

    flat = pa.array(values.reshape(-1))
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def encode(video: UInt8[np.ndarray, "t h w 3"], fps: int) -> bytes:
    """An mp4 that decodes to the same pixels; frames follow each other in the order of decoding."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(CODEC, rate=fps, options=_EXACT)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.codec_context.thread_count = 1
        for picture in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def join_videos(videos: list[bytes], path: Path, *, fps: int) -> None:
    """One mp4 out of several that `encode` made, without encoding them again."""
    with av.open(str(path), "w", format="mp4") as joined:
        stream: Any = None
        place = 0
        for video in videos:
            with av.open(io.BytesIO(video), "r") as source:
                if stream is None:
                    stream = joined.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is None:  # PyAV's mark of the end
                        continue
                    packet.stream, packet.time_base = stream, Fraction(1, fps)
                    packet.pts = packet.dts = place
                    packet.duration = 1
                    joined.mux(packet)
                    place += 1


def of_numbers(values: Float[np.ndarray, "n d"]) -> Stats:
    """Statistics of each column, in double precision."""
    values = values.astype(np.float64)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }


def of_pictures(video: UInt8[np.ndarray, "t h w 3"]) -> Stats:
    """Statistics of each colour over all pixels, in [0, 1], (3, 1, 1) as LeRobot has them; count: frames."""
    counts = np.stack([np.bincount(video[..., c].ravel(), minlength=256) for c in range(3)])
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(axis=1)
    found = counts > 0
    columns = {
        "min": levels[found.argmax(axis=1)],
        "max": levels[255 - found[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)),
    }
    return {name: column.reshape(3, 1, 1) for name, column in columns.items()} | {
        "count": np.array([len(video)])
    }


def pooled(one: Stats, other: Stats) -> Stats:
    """The statistics of two sets of values together."""
    count = one["count"] + other["count"]
    share = other["count"] / count
    apart = other["mean"] - one["mean"]
    variance = (1 - share) * one["std"] ** 2 + share * other["std"] ** 2 + share * (1 - share) * apart**2
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": one["mean"] + share * apart,
        "std": np.sqrt(variance),
        "count": count,
    }
