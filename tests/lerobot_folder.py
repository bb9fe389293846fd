"""Writes a small valid LeRobotDataset: a dot that is moved by its actions, seen by two cameras.

    python tests/lerobot_folder.py FOLDER

The dot's centre in pixels is `observation.state`, its next displacement is `action`, so that whoever reads
the folder can check by looking at the frames whether video, states and actions still belong together.
"""

import argparse
import io
import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value
from PIL import Image as PILImage

CAMERAS = ("observation.images.top", "observation.images.side")
TASKS = ("push the dot to the left", "push the dot to the right")
RADIUS = 5


def dot_episode(frames: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """States (t, 2) and actions (t, 2) in pixels, x then y: state[i + 1] = state[i] + action[i]."""
    margin = RADIUS + 2
    states = np.empty((frames + 1, 2))
    states[0] = rng.uniform(margin, size - margin, 2)
    for i in range(frames):
        states[i + 1] = np.clip(states[i] + rng.uniform(-4, 4, 2), margin, size - margin)
    states = states.astype(np.float32)
    return states[:-1], np.diff(states, axis=0)


def draw(camera: str, state: np.ndarray, size: int) -> np.ndarray:
    """One frame (h, w, 3): `top` sees a white dot, `side` the mirror image of a green one."""
    y, x = np.mgrid[:size, :size]
    centre_x = state[0] if camera == CAMERAS[0] else size - 1 - state[0]
    inside = np.clip(RADIUS + 0.5 - np.hypot(x - centre_x, y - state[1]), 0, 1)[..., None]
    colour = np.array((255, 255, 255) if camera == CAMERAS[0] else (0, 255, 0))
    return np.round(inside * colour + (1 - inside) * 30).astype(np.uint8)


def write_mp4(path: Path, frames: list[np.ndarray], fps: int) -> None:
    """H.264 with a keyframe every second frame, as LeRobot writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"g": "2", "crf": "20", "preset": "veryfast"}
        )
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def png(frame: np.ndarray) -> dict:
    """A frame as `datasets` stores an image in parquet."""
    data = io.BytesIO()
    PILImage.fromarray(frame).save(data, format="png")
    return {"bytes": data.getvalue(), "path": None}


def frame_table(
    episode: int, first: int, states: np.ndarray, actions: np.ndarray, fps: int, images: dict
) -> pa.Table:
    """One row a frame: what LeRobot keeps in data/, with the pictures where cameras are image features."""
    n = len(states)
    features = Features(
        {camera: Image() for camera in images}
        | {
            "observation.state": List(Value("float32"), length=2),
            "action": List(Value("float32"), length=2),
            "timestamp": Value("float32"),
            **{key: Value("int64") for key in ("frame_index", "episode_index", "index", "task_index")},
        }
    )
    columns = images | {
        "observation.state": states.tolist(),
        "action": actions.tolist(),
        "timestamp": (np.arange(n) / fps).astype(np.float32),
        "frame_index": np.arange(n),
        "episode_index": np.full(n, episode),
        "index": np.arange(first, first + n),
        "task_index": np.full(n, episode % len(TASKS)),
    }
    return pa.table(columns, schema=features.arrow_schema)


def write_tables(path: Path, tables: list[pa.Table]) -> None:
    """One parquet file, one row group a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_lerobot_folder(
    path: Path | str,
    version: str = "v3.0",
    *,
    episodes: int = 6,
    frames: int | list[int] = 24,
    fps: int = 10,
    size: int = 64,
    images: bool = False,
    episodes_per_file: int = 2,
    splits: dict[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Write the folder; `images` keeps pictures in parquet, not in mp4; `frames` may differ by episode."""
    path, rng = Path(path), np.random.default_rng(seed)
    lengths = [frames] * episodes if isinstance(frames, int) else frames
    firsts = np.concatenate([[0], np.cumsum(lengths)])
    dots = [dot_episode(n, size, rng) for n in lengths]
    films = [{c: [draw(c, s, size) for s in states] for c in CAMERAS} for states, _ in dots]
    tables = []
    for e, (states, actions) in enumerate(dots):
        pictures = {c: [png(f) for f in films[e][c]] for c in CAMERAS} if images else {}
        tables.append(frame_table(e, int(firsts[e]), states, actions, fps, pictures))

    (path / "meta").mkdir(parents=True, exist_ok=True)
    per_file = episodes_per_file if version.startswith("v3") else 1
    if version.startswith("v3"):
        data_path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        pq.write_table(
            pa.table({"task_index": range(len(TASKS)), "__index_level_0__": TASKS}),
            path / "meta/tasks.parquet",
        )
        write_tables(
            path / "meta/episodes/chunk-000/file-000.parquet",
            [episode_table(e, lengths, firsts, per_file, fps, images) for e in range(len(lengths))],
        )
    else:
        data_path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        video_path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        write_lines(path / "meta/tasks.jsonl", [{"task_index": i, "task": t} for i, t in enumerate(TASKS)])
        write_lines(
            path / "meta/episodes.jsonl",
            [{"episode_index": e, "tasks": [TASKS[e % 2]], "length": n} for e, n in enumerate(lengths)],
        )

    for number, start in enumerate(range(0, len(lengths), per_file)):
        group = range(start, min(start + per_file, len(lengths)))
        place = {"chunk_index": 0, "file_index": number, "episode_chunk": 0, "episode_index": start}
        write_tables(path / data_path.format(**place), [tables[e] for e in group])
        for camera in () if images else CAMERAS:
            film = [frame for e in group for frame in films[e][camera]]
            write_mp4(path / video_path.format(video_key=camera, **place), film, fps)

    picture = {
        "dtype": "image" if images else "video",
        "shape": [size, size, 3],
        "names": ["height", "width", "channels"],
    }
    info = {
        "codebase_version": version,
        "robot_type": "dot",
        "total_episodes": len(lengths),
        "total_frames": int(firsts[-1]),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "fps": fps,
        "splits": splits or {"train": f"0:{len(lengths)}"},
        "data_path": data_path,
        "video_path": None if images else video_path,
        "features": {camera: picture for camera in CAMERAS}
        | {
            "observation.state": {"dtype": "float32", "shape": [2], "names": {"axes": ["x", "y"]}},
            "action": {"dtype": "float32", "shape": [2], "names": ["dx", "dy"]},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        }
        | {
            key: {"dtype": "int64", "shape": [1], "names": None}
            for key in ("frame_index", "episode_index", "index", "task_index")
        },
        "a_field_of_the_future": {"readers": "ignore it"},
    }
    (path / "meta/info.json").write_text(json.dumps(info, indent=4))


def episode_table(
    e: int, lengths: list[int], firsts: np.ndarray, per_file: int, fps: int, images: bool
) -> pa.Table:
    """One row of meta/episodes: where the episode lies in data/ and videos/, and its statistics."""
    start = e - e % per_file
    row = {
        "episode_index": e,
        "tasks": [TASKS[e % len(TASKS)]],
        "length": lengths[e],
        "data/chunk_index": 0,
        "data/file_index": e // per_file,
        "dataset_from_index": int(firsts[e]),
        "dataset_to_index": int(firsts[e + 1]),
    }
    for camera in () if images else CAMERAS:
        row[f"videos/{camera}/chunk_index"] = 0
        row[f"videos/{camera}/file_index"] = e // per_file
        row[f"videos/{camera}/from_timestamp"] = float(firsts[e] - firsts[start]) / fps
        row[f"videos/{camera}/to_timestamp"] = float(firsts[e + 1] - firsts[start]) / fps
    row["stats/action/mean"] = [0.0, 0.0]
    row["meta/episodes/chunk_index"] = row["meta/episodes/file_index"] = 0
    return pa.Table.from_pylist([row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Write a small LeRobotDataset of a dot moved by its actions."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", default="v3.0", choices=["v3.0", "v2.1"])
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--frames", type=int, default=60, help="frames in each episode")
    arguments = parser.parse_args()
    write_lerobot_folder(
        arguments.folder, arguments.version, episodes=arguments.episodes, frames=arguments.frames
    )
    print(f"wrote {arguments.episodes} episodes of {arguments.frames} frames to {arguments.folder}")
