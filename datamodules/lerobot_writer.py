"""Writes recordings as LeRobotDataset folders, codebase_version v3.0."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.lerobot_episodes import (
    KeptEpisode,
    Stats,
    episode_file,
    frame_table,
    join_videos,
    pooled,
    read_kept,
)
from datamodules.recordings import claim, write_whole

EPISODES_PER_FILE = 100
_FILES_PER_CHUNK = 1000
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


class LeRobotWriter:
    """Joins the episodes that `keep_episode` left into one data set, and goes on with it.

    The n-th files of data/, of videos/ and of meta/episodes/ hold the same episodes, the last of them is
    written last, and what meta/ says in other files follows from it: whenever a recording is killed, the
    folder is a data set of whole episodes, and the episodes that were not joined yet wait beside it.

    A row has a frame and the action that leads to the next one. The last row of an episode, which has no
    next frame, has an action of zeros and repeats the last `next.success`.

    root: the folder.  fps: frames a second.  robot: what acts.  cameras: height and width of each.
    state_names, action_names: of each number.  made_by: all that the episodes depend on, by which a writer
    knows its folder again.

    Raises SourceError where root holds anything else, or another recording is writing to it.
    Source: LeRobotDataset v3.0, as `lerobot` 0.4 writes it.
    """

    def __init__(
        self,
        *,
        root: Path,
        fps: int,
        robot: str,
        cameras: dict[str, tuple[int, int]],
        state_names: tuple[str, ...],
        action_names: tuple[str, ...],
        made_by: dict[str, Any],
    ) -> None:
        self.root, self.fps, self.robot = root, fps, robot
        self.cameras = {f"observation.images.{name}": size for name, size in cameras.items()}
        self.state_names, self.action_names = state_names, action_names
        self.episodes = self.frames = self.files = 0
        self.tasks: dict[str, int] = {}
        self.stats: dict[str, Stats] = {}
        self._claimed = claim(root, "meta/recording.json", made_by)
        self._go_on()

    def close(self) -> None:
        """Let other recordings have the folder."""
        self._claimed.close()

    def missing(self, count: int) -> list[int]:
        """Which of the first `count` episodes are neither joined nor waiting."""
        return [i for i in range(self.episodes, count) if not episode_file(self.root, i).is_file()]

    def join(self, count: int) -> None:
        """Write as many files as the waiting episodes fill; the one that reaches `count` may be shorter."""
        while True:
            waiting: list[Path] = []
            while len(waiting) < EPISODES_PER_FILE and self.episodes + len(waiting) < count:
                file = episode_file(self.root, self.episodes + len(waiting))
                if not file.is_file():
                    return
                waiting.append(file)
            if not waiting:
                break
            self._join(waiting)
        if not self._waiting():
            shutil.rmtree(self.root / "unjoined", ignore_errors=True)

    def _waiting(self) -> list[Path]:
        return sorted((self.root / "unjoined").glob("*.npz"))

    def _go_on(self) -> None:
        """Take up what is joined; drop what a killed recording has left half done."""
        import pyarrow.parquet as pq

        for path in self.root.rglob("*.part"):
            path.unlink()
        while (file := self.root / self._place(_EPISODES)).is_file():
            for row in pq.read_table(file).to_pylist():
                self._count(row)
            self.files += 1
        for template in (_DATA, *(_VIDEO.replace("{video_key}", camera) for camera in self.cameras)):
            (self.root / self._place(template)).unlink(missing_ok=True)
        for path in self._waiting():
            if path < episode_file(self.root, self.episodes):
                path.unlink()
        if self.files:
            self._write_meta()

    def _place(self, template: str) -> str:
        """Where the next file goes."""
        chunk, number = divmod(self.files, _FILES_PER_CHUNK)
        return template.format(chunk_index=chunk, file_index=number)

    def _count(self, row: dict[str, Any]) -> None:
        """Take an episode's row of meta/episodes into account."""
        self.episodes += 1
        self.frames += row["length"]
        for text in row["tasks"]:
            self.tasks.setdefault(text, len(self.tasks))
        for key in (*self.cameras, "observation.state", "action"):
            names = ("min", "max", "mean", "std", "count")
            mine = {name: np.array(row[f"stats/{key}/{name}"]) for name in names}
            self.stats[key] = pooled(self.stats[key], mine) if key in self.stats else mine

    def _join(self, waiting: list[Path]) -> None:
        """Write the next file of everything."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kept = [read_kept(file) for file in waiting]
        for camera in self.cameras:
            videos = [episode.videos[camera.rpartition(".")[2]] for episode in kept]
            place = self._place(_VIDEO.replace("{video_key}", camera))
            write_whole(self.root / place, partial(join_videos, videos, fps=self.fps))
        rows: list[dict[str, Any]] = []
        tables: list[Any] = []
        begun = self.frames
        for episode in kept:
            index, first = self.episodes, self.frames
            rows.append(self._episode_row(episode, begun))
            self._count(rows[-1])
            task = self.tasks[episode.text]
            tables.append(frame_table(episode, index=index, first=first, task_index=task, fps=self.fps))
        write_whole(self.root / self._place(_DATA), partial(_write_tables, tables=tables))
        table = pa.Table.from_pylist(rows)
        write_whole(self.root / self._place(_EPISODES), lambda path: pq.write_table(table, path))
        self.files += 1
        self._write_meta()
        for file in waiting:
            file.unlink()

    def _episode_row(self, episode: KeptEpisode, begun: int) -> dict[str, Any]:
        """Where the next episode lies. begun: the index of the first frame in this file."""
        chunk, number = divmod(self.files, _FILES_PER_CHUNK)
        length = len(episode.states)
        row: dict[str, Any] = {"episode_index": self.episodes, "tasks": [episode.text], "length": length}
        row |= {"data/chunk_index": chunk, "data/file_index": number}
        row |= {"dataset_from_index": self.frames, "dataset_to_index": self.frames + length}
        for camera in self.cameras:
            row[f"videos/{camera}/chunk_index"], row[f"videos/{camera}/file_index"] = chunk, number
            row[f"videos/{camera}/from_timestamp"] = (self.frames - begun) / self.fps
            row[f"videos/{camera}/to_timestamp"] = (self.frames - begun + length) / self.fps
        for key, stats in episode.stats.items():
            row |= {f"stats/{key}/{name}": value for name, value in stats.items()}
        return row | {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": number}

    def _write_meta(self) -> None:
        """What follows from the episodes: statistics, tasks and, at last, info.json."""
        import pandas as pd

        stats = {key: {name: value.tolist() for name, value in of.items()} for key, of in self.stats.items()}
        # LeRobot finds a task's text as the index of a pandas table.
        tasks = pd.DataFrame({"task_index": self.tasks.values()}, index=pd.Index(self.tasks, name="task"))
        info = {
            "codebase_version": "v3.0",
            "robot_type": self.robot,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": _FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": _DATA,
            "video_path": _VIDEO,
            "features": self._features(),
        }
        meta = self.root / "meta"
        write_whole(meta / "stats.json", lambda path: path.write_text(json.dumps(stats, indent=4)))
        write_whole(meta / "tasks.parquet", lambda path: tasks.to_parquet(path))
        write_whole(meta / "info.json", lambda path: path.write_text(json.dumps(info, indent=4)))

    def _features(self) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for camera, (height, width) in self.cameras.items():
            about: dict[str, Any] = {
                "video.height": height,
                "video.width": width,
                "video.fps": self.fps,
                "video.channels": 3,
            }
            about |= {"video.codec": "h264", "video.pix_fmt": "gbrp", "video.is_depth_map": False}
            features[camera] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": about | {"has_audio": False},
            }
        for key, names in (("observation.state", self.state_names), ("action", self.action_names)):
            features[key] = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
        scalars = {"next.success": "bool", "timestamp": "float32"}
        scalars |= dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
        return features | {
            key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in scalars.items()
        }


def _write_tables(path: Path, tables: list[Any]) -> None:
    """One row group a table."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
