"""Clips out of any source that `datasets` opens and that has a column of videos or of image sequences."""

import glob
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from components.clip import ClipSpec
from datamodules import SourceError, Split
from datamodules.huggingface_clips import ClipStream, RowClips
from datamodules.huggingface_rows import ClipCutter

_FORMATS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}
_USUAL: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test",),
}
_MUCH = 200e6  # bytes; who waits for more than that to be read wants a progress bar


class HuggingFace:
    """Clips of a data set on the Hugging Face hub, or of a local folder, file or glob of files.

    Files are parquet, tar (WebDataset), Arrow or JSON; a folder may also hold plain videos. video_column has
    videos or lists of images, stored or as paths; null finds the first one with stored ones. text_column may
    look into a column: json.caption. A validation or test split that the source lacks is a tenth of train,
    by a hash: of the row's number if map-style, of the video itself if streaming, so a model that was trained
    the one way should not be judged the other way.

    fps: frames per second of the clips, null: as recorded; images have no times and count as assumed_fps.
    Map-style, a pass has every window of an image sequence (in train one every `stride` images, else without
    overlap) and clips_per_row windows of a video. Streaming, it has one window a row, another one in each
    pass; train's rows are shuffled within blocks of shuffle_rows, its shards among each other. Rows that
    cannot be used are replaced (map-style) or left out (streaming), with a warning.
    Raises: SourceError where the source does not open, or lacks a split or a column.
    """

    def __init__(
        self,
        *,
        path: str,
        num_frames: int,
        height: int,
        width: int,
        name: str | None = None,
        video_column: str | None = None,
        text_column: str | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        fps: float | None = None,
        assumed_fps: float = 10.0,
        stride: int = 1,
        clips_per_row: int = 1,
        streaming: bool = False,
        shuffle_rows: int = 32,
    ) -> None:
        if min(num_frames, height, width, stride, clips_per_row, shuffle_rows) < 1:
            raise SourceError("data: sizes, stride, clips_per_row and shuffle_rows must be at least 1")
        if assumed_fps <= 0 or (fps is not None and fps <= 0):
            raise SourceError("data: fps and assumed_fps must be above 0 (fps=null keeps what was recorded)")
        self.path, self.name = path, name
        self.num_frames, self.height, self.width = num_frames, height, width
        self.video_column, self.text_column = video_column, text_column
        self.asked: dict[Split, str | None] = {"train": train_split, "val": val_split, "test": test_split}
        self.fps, self.assumed_fps, self.stride, self.clips_per_row = fps, assumed_fps, stride, clips_per_row
        self.streaming, self.shuffle_rows = streaming, shuffle_rows

    def spec(self) -> ClipSpec:
        """Shapes; these sources have neither actions nor states."""
        return ClipSpec(self.num_frames, self.height, self.width)

    def split(self, name: Split) -> RowClips | ClipStream:
        """The clips of one split: map-style, or the share of this process of a stream."""
        import datasets

        own = self._own_splits
        carved: list[Split] = [part for part in ("val", "test") if part not in own]
        taken_from = own.get(name, own["train"])
        with self._opening():
            rows = datasets.load_dataset(**self._source(), split=taken_from, streaming=self.streaming)
        column = self._video_column(rows)
        text = [self.text_column.split(".")[0]] if self.text_column else []
        rows = rows.select_columns([column, *text])
        root = Path(self.path).expanduser()
        cutter = ClipCutter(
            name=f"{root.parent.name if glob.has_magic(root.name) else root.name}/{taken_from}",
            folder=root if root.is_dir() else root.parent,
            video_column=column,
            text_column=self.text_column,
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            fps=self.fps,
            assumed_fps=self.assumed_fps,
        )
        train = name == "train"
        if self.streaming:
            block = self.shuffle_rows if train else 1
            undecoded = rows.decode(False) if rows.features else rows
            return ClipStream(own_share(undecoded), cutter, part=name, carved=carved, block=block)
        return RowClips(
            rows.with_format("arrow"),
            cutter,
            part=name,
            carved=carved,
            stride=self.stride if train else None,
            clips_per_row=self.clips_per_row,
        )

    def _source(self) -> dict[str, Any]:
        """What `datasets` opens."""
        path = Path(self.path).expanduser()
        if (path / "state.json").is_file():  # left by save_to_disk
            path = path / "*.arrow"
        if not (glob.has_magic(str(path)) or path.is_file()):
            return {"path": str(path) if path.is_dir() else self.path, "name": self.name}
        if path.suffix not in _FORMATS:
            raise SourceError(
                f"data.path={self.path}: neither a folder nor one of {', '.join(_FORMATS)}; "
                "single videos are for data=videos"
            )
        return {"path": _FORMATS[path.suffix], "data_files": str(path)}

    @cached_property
    def _own_splits(self) -> dict[Split, str]:
        """The source's splits by our names; none for one that it lacks."""
        import datasets

        source = self._source()
        own = {part: split for part, split in self.asked.items() if split}
        if len(own) == len(self.asked):
            return own
        with self._opening():
            there = datasets.get_dataset_split_names(
                source["path"], config_name=source.get("name"), data_files=source.get("data_files")
            )
        for part, usual in _USUAL.items():
            found = [split for split in usual if split in there]
            if found and part not in own:
                own[part] = found[0]
        if "train" not in own:
            there = ", ".join(there)
            raise SourceError(
                f"data.path={self.path}: no split named train; set train_split to one of: {there}"
            )
        return own

    def _video_column(self, rows: Any) -> str:
        """The column of videos; that of texts is looked for too."""
        import datasets

        features = rows.features or dict.fromkeys(next(iter(rows), ()))
        there = ", ".join(features)
        for asked in (self.video_column, self.text_column):
            if asked is not None and asked.split(".")[0] not in features:
                raise SourceError(f"data.path={self.path}: no column {asked!r}; there are: {there}")
        if self.video_column is not None:
            return self.video_column
        for column, feature in features.items():
            sequence = isinstance(getattr(feature, "feature", None), datasets.Image)
            if sequence or isinstance(feature, datasets.Video):
                return column
        raise SourceError(
            f"data.path={self.path}: no column of videos or of lists of images; if one holds their paths, "
            f"name it with video_column; there are: {there}"
        )

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """One line of ours for what `datasets` says went wrong."""
        from datasets.exceptions import DatasetsError

        path = Path(self.path).expanduser()
        files = glob.iglob(str(path), recursive=True) if glob.has_magic(self.path) else path.rglob("*")
        try:
            with quiet_unless_much(map(Path, files) if not path.is_file() else [path]):
                yield
        except (DatasetsError, OSError, ValueError) as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            hint = "" if path.exists() else "; no such path here: check it, or the hub id and the network"
            raise SourceError(f"data.path={self.path}: does not open ({reason}){hint}") from error


@contextmanager
def quiet_unless_much(files: Iterable[Path]) -> Iterator[None]:
    """No progress bars of `datasets` while it opens these files, if they are small."""
    import datasets

    total = 0
    for file in files:
        total += file.stat().st_size if file.is_file() else 0
        if total > _MUCH:
            break
    quiet = 0 < total <= _MUCH and not datasets.are_progress_bars_disabled()
    if quiet:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            datasets.enable_progress_bars()


def own_share(rows: Any) -> Any:
    """This process's part of a stream: whole shards where they divide, else every n-th row."""
    from datasets.distributed import split_dataset_by_node

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return rows
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return split_dataset_by_node(rows, rank, world_size)
