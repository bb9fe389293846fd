"""Where things lie in a LeRobotDataset folder, v3.x (many episodes in a file) and v2.x (one in each)."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.decoding import Unreadable, VideoInfo
from datamodules.huggingface import quiet_unless_much
from datamodules.probing import probe_video
from datamodules.video_splits import by_hash


@dataclass(frozen=True)
class Episode:
    """One episode's rows in the frame table and, unless its pictures are there too, its part of an mp4."""

    index: int
    first_row: int
    length: int
    video: Path | None
    start: float  # seconds into the mp4


class LeRobotLayout:
    """A folder, or a data set on the Hugging Face hub, by what its meta/ says.

    Raises: SourceError where there is no such folder, or one that cannot be read.
    Source: the LeRobotDataset format, codebase_version v3.0 and v2.1; fields it does not know are ignored.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.folder = fetch(root, ["meta/**"])
        path = self.folder / "meta" / "info.json"
        if not path.is_file():
            raise SourceError(f"data.root={root}: no meta/info.json; is this a LeRobotDataset folder?")
        self.info: dict[str, Any] = json.loads(path.read_text())
        self.features: dict[str, Any] = self.info["features"]
        self.fps = float(self.info["fps"])
        version = str(self.info.get("codebase_version"))
        if not re.match(r"v[23]\.", version):
            raise SourceError(
                f"data.root={root}: codebase_version {version} cannot be read, v2.x and v3.x can; "
                "convert it with LeRobot's own script"
            )

    def camera(self, name: str | None) -> str:
        """The feature of a camera, given in full or by its last part; the first one if null."""
        cameras = [key for key, feature in self.features.items() if is_picture(feature)]
        for key in cameras:
            if name in (None, key) or key.endswith(f".{name}"):
                return key
        raise SourceError(
            f"data.root={self.root}: no camera {name!r}; there are: {', '.join(cameras) or 'none'}"
        )

    def names(self, key: str, argument: str) -> tuple[str, ...]:
        """One name for each number of a feature."""
        if key not in self.features:
            there = ", ".join(k for k, f in self.features.items() if f["dtype"].startswith("float"))
            raise SourceError(
                f"data.root={self.root}: no {argument}={key!r}; there are: {there}; null goes without"
            )
        count, names = int(np.prod(self.features[key]["shape"])), self.features[key].get("names")
        if isinstance(names, dict):  # either {"motors": [name, ...]} or {name: place, ...}
            first = next(iter(names.values()), None)
            names = first if isinstance(first, list) else list(names)
        if not names or len(names) != count:
            names = [f"{key}[{i}]" for i in range(count)]
        return tuple(str(name) for name in names)

    def frames(self, camera: str, keys: list[str]) -> Any:
        """What a clip needs of the frame table, memory-mapped: a `datasets.Dataset` in arrow format."""
        import datasets
        from datasets.exceptions import DatasetsError

        self.folder = fetch(self.root, ["meta/**", "data/**", f"videos/{camera}/**", f"videos/*/{camera}/**"])
        files = sorted(str(path) for path in (self.folder / "data").rglob("*.parquet"))
        if not files:
            raise SourceError(f"data.root={self.root}: no parquet file under data/; fetch the data set again")
        columns = ["timestamp", "frame_index", "episode_index", "task_index", *keys]
        columns += [camera] if self.features[camera]["dtype"] == "image" else []
        try:
            with quiet_unless_much(map(Path, files)):
                table = datasets.load_dataset("parquet", data_files=files, columns=columns, split="train")
        except (DatasetsError, OSError, ValueError) as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise SourceError(
                f"data.root={self.root}: the tables under data/ do not open ({reason})"
            ) from error
        return table.with_format("arrow")

    def episodes(self, frames: Any, camera: str) -> Iterator[Episode]:
        """All episodes of the frame table; one whose video is not known gets a path that does not exist."""
        index = frames.select_columns("episode_index")[:]["episode_index"].to_numpy()
        firsts = np.concatenate([[0], np.flatnonzero(np.diff(index)) + 1, [len(index)]]).tolist()
        in_table = self.features[camera]["dtype"] == "image"
        places = {} if in_table else self._places(camera)
        for first, stop in itertools.pairwise(firsts):
            video, start = places.get(int(index[first]), (self.folder / "videos" / "missing", 0.0))
            yield Episode(int(index[first]), first, stop - first, None if in_table else video, start)

    def videos(self, episodes: list[Episode]) -> dict[Path, VideoInfo]:
        """The mp4 files that are there. The first is looked into; all of a camera are of its kind."""
        ends: dict[Path, float] = {}
        for e in episodes:
            if e.video is not None and (e.video in ends or e.video.is_file()):
                ends[e.video] = max(ends.get(e.video, 0.0), e.start + (e.length - 1) / self.fps)
        if not ends:
            return {}
        try:
            kind = probe_video(str(next(iter(ends))))
        except Unreadable as reason:
            raise SourceError(f"{next(iter(ends))}: {reason}; fetch this file again") from reason
        # Times in meta/ count from zero, not from the first frame, and are rounded: hence the half frame.
        return {
            path: replace(kind, path=str(path), start=0.0, duration=end - 0.5 / self.fps)
            for path, end in ends.items()
        }

    def _places(self, camera: str) -> dict[int, tuple[Path, float]]:
        """For each episode its mp4 and the second at which it starts there."""
        template, places = self.info["video_path"], {}
        if self.info["codebase_version"].startswith("v2"):
            for line in (self.folder / "meta" / "episodes.jsonl").read_text().splitlines():
                e = json.loads(line)["episode_index"]
                chunk = e // self.info["chunks_size"]
                path = template.format(video_key=camera, episode_chunk=chunk, episode_index=e)
                places[e] = (self.folder / path, 0.0)
            return places
        import pyarrow.parquet as pq

        keys = [f"videos/{camera}/{key}" for key in ("chunk_index", "file_index", "from_timestamp")]
        for file in sorted((self.folder / "meta" / "episodes").rglob("*.parquet")):
            # Only these columns: the statistics beside them are most of the file.
            for row in pq.read_table(file, columns=["episode_index", *keys]).to_pylist():
                chunk, number, start = (row[key] for key in keys)
                path = template.format(video_key=camera, chunk_index=chunk, file_index=number)
                places[row["episode_index"]] = (self.folder / path, start)
        return places

    def tasks(self) -> dict[int, str]:
        """The text of each task; v3 keeps it as the index of a pandas table, v2 in lines of JSON."""
        table, lines = self.folder / "meta" / "tasks.parquet", self.folder / "meta" / "tasks.jsonl"
        rows: list[dict[str, Any]] = []
        if table.is_file():
            import pyarrow.parquet as pq

            rows = pq.read_table(table).to_pylist()
        elif lines.is_file():
            rows = [json.loads(line) for line in lines.read_text().splitlines()]
        return {row.pop("task_index"): str(next(iter(row.values()))) for row in rows}

    def split_episodes(self, episodes: set[int]) -> dict[Split, set[int]]:
        """Disjoint episodes for each split, the same on every machine and for every length of clip.

        `splits` in info.json is kept where it reserves episodes for validation or test; what it does not
        reserve is drawn by a hash of the episode's index, one in ten and at least one.
        """
        declared: dict[str, set[int]] = {}
        for name, span in self.info.get("splits", {}).items():
            first, _, stop = str(span).partition(":")
            if not (first.isdigit() and stop.isdigit()):
                raise SourceError(
                    f"data.root={self.root}: splits.{name}={span!r} in info.json is not FIRST:STOP"
                )
            declared[name] = set(range(int(first), int(stop))) & episodes
        test = declared.get("test", set())
        val = declared.get("val", declared.get("validation", set())) - test
        rest = declared.get("train", episodes) - val - test
        lacking: list[Split] = [name for name, part in (("val", val), ("test", test)) if not part]
        if len(rest) < 1 + len(lacking):
            raise SourceError(
                f"data.root={self.root}: {len(episodes)} episodes; train, val and test need one each"
            )
        taken = by_hash([str(e) for e in sorted(rest)], ["train", *lacking])
        drawn = {name: {e for e in rest if taken[str(e)] == name} for name in ("train", "val", "test")}
        return {"train": drawn["train"], "val": val or drawn["val"], "test": test or drawn["test"]}


def by_share(episodes: list[int], share: float) -> list[int]:
    """This share of episodes, drawn by their numbers; a smaller share is a part of a larger one."""
    return sorted(episodes, key=lambda index: mix(0, index))[: max(1, round(share * len(episodes)))]


def is_picture(feature: dict[str, Any]) -> bool:
    """Depth maps are stored as videos too, but are no pictures."""
    about = feature.get("info") or {}
    depth = any(value for key, value in about.items() if key.endswith("is_depth_map"))
    return feature["dtype"] in ("video", "image") and not depth


def fetch(root: str, patterns: list[str]) -> Path:
    """The folder itself, or a snapshot of these files of a data set on the hub."""
    folder = Path(root).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", root):
        raise SourceError(
            f"data.root={root}: no such folder; give a LeRobotDataset folder or a hub id like lerobot/pusht"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(root, repo_type="dataset", allow_patterns=patterns))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors, a bad name is a ValueError
        reason = str(error).strip().splitlines()[0]
        raise SourceError(
            f"data.root={root}: no such folder, and not to be had from the hub ({reason}); "
            "check the name and the network, or fetch it elsewhere and give its folder"
        ) from error
