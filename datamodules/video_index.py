"""Which videos there are and what they hold: found, probed once, remembered in a cache folder."""

import glob
import hashlib
import json
import os
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import av

from datamodules import SourceError
from datamodules.decoding import Reader, Unreadable, VideoFile, VideoInfo
from datamodules.probing import probe_video
from datamodules.stills import (
    IMAGE_SUFFIXES,
    ArrayFile,
    ImageFolder,
    numbered_images,
    probe_array,
    probe_images,
)

CACHE_VARIABLE = "VIDEO_WORLD_MODELS_CACHE"
_VERSION = 1  # raise it when VideoInfo or the probes change
_ENDS = 65536  # bytes of a file's beginning and end that stand for it
_QUIET = 2.0  # seconds before a progress bar appears
_VIDEO_NAMES = (
    "3g2 3gp asf avi dv f4v flv gif m2ts m4v mkv mov mp4 mpeg mpg mts mxf npz ogg ogv ts vob webm wmv y4m"
)
_VIDEO_SUFFIXES = {f".{name}" for name in _VIDEO_NAMES.split()}
_SIDECAR_NAMES = "csv html json jsonl log md parquet srt txt vtt yaml yml"
_SIDECAR_SUFFIXES = {f".{name}" for name in _SIDECAR_NAMES.split()}

Candidate = tuple[Path, str | None]  # a video to be probed, or why it is none


@dataclass(frozen=True)
class Found:
    """Candidates under a root by name: the path relative to base, with forward slashes."""

    root: str | list[str]
    base: Path
    videos: dict[str, Path]
    skipped: dict[str, str]


def find_videos(root: str | list[str]) -> Found:
    """All candidates in a file, a glob, a folder or a list of these, in the order of their names.

    Folders are searched to the bottom; one that holds images and no video files is one video. Hidden files
    and what usually lies beside videos (.txt, .csv, .json, ...) are left out.
    Raises: SourceError where nothing is there.
    """
    bases: list[Path] = []
    candidates: list[Candidate] = []
    for given in [root] if isinstance(root, str) else root:
        path = Path(os.path.abspath(os.path.expanduser(given)))
        if path.is_dir():
            bases.append(path)
            candidates += _walk(path)
        elif path.exists():
            bases.append(path.parent)
            candidates.append((path, None))
        elif glob.has_magic(given):
            bases.append(Path(*takewhile(lambda part: not glob.has_magic(part), path.parts)))
            for match in map(Path, sorted(glob.glob(str(path), recursive=True))):
                candidates += _walk(match) if match.is_dir() else _judge([match])
        else:
            raise SourceError(f"data.root={given}: no such file or folder; looked for {path}")
    if not candidates:
        raise SourceError(f"data.root={root}: no videos there; give a file, a glob, a folder or a list")
    base = Path(os.path.commonpath(bases))
    # One name a file, the shortest: a link to a training video must not make it a test video too.
    candidates.sort(key=lambda candidate: (len(candidate[0].parts), candidate[0]))
    files = {os.path.realpath(path): (path, reason) for path, reason in reversed(candidates)}
    named = sorted((_name(path, base), (path, reason)) for path, reason in files.values())
    return Found(
        root=root,
        base=base,
        videos={name: path for name, (path, reason) in named if reason is None},
        skipped={name: reason for name, (_, reason) in named if reason is not None},
    )


def probe_all(found: Found) -> tuple[dict[str, VideoInfo], dict[str, str]]:
    """What each video holds, and why others cannot be used; remembered for files that did not change."""
    cache = _cache_file(found)
    known = _load(cache)
    stamps = {name: _stamp(path) for name, path in found.videos.items()}
    entries = {name: known[name] for name in stamps if known.get(name, {}).get("stamp") == stamps[name]}
    missing = [name for name in stamps if name not in entries]
    try:
        for name, entry in _probe_many({name: found.videos[name] for name in missing}):
            entries[name] = entry | {"stamp": stamps[name]}
    finally:  # what was probed before an interruption need not be probed again
        if missing:
            _save(cache, entries)
    infos, skipped = {}, dict(found.skipped)
    for name, path in found.videos.items():
        if "info" in entries[name]:
            infos[name] = VideoInfo(path=str(path), **entries[name]["info"])
        else:
            skipped[name] = entries[name]["reason"]
    return infos, skipped


def open_video(info: VideoInfo) -> Reader:
    """A reader of what lies at the path. Raises: Unreadable."""
    return _format(Path(info.path))[1](info)


def content_key(path: str) -> str:
    """A hash of what a file holds, wherever it lies: of its size, its beginning and its end.

    There containers keep their tables, which any change of the video changes. Of a folder of images: of their
    names and sizes.
    """
    return _content_key(Path(path), *_stamp(Path(path)))


@cache
def _content_key(place: Path, size: int, changed: int) -> str:
    if place.is_dir():
        parts = [f"{image.name} {image.stat().st_size}".encode() for image in numbered_images(place)]
    else:
        with place.open("rb") as file:
            parts = [str(size).encode(), file.read(_ENDS)]
            file.seek(max(0, size - _ENDS))
            parts.append(file.read())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _format(path: Path) -> tuple[Callable[[str], VideoInfo], Callable[[VideoInfo], Reader]]:
    """How to probe and how to read it."""
    if path.is_dir():
        return probe_images, ImageFolder
    if path.suffix.lower() == ".npz":
        return probe_array, ArrayFile
    return probe_video, VideoFile


def _walk(folder: Path) -> Iterator[Candidate]:
    """Candidates in a folder and below; links are followed, each real folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = [Path(place, name) for name in sorted(files)]
        suffixes = {path.suffix.lower() for path in paths if not path.name.startswith(".")}
        if suffixes & IMAGE_SUFFIXES and not suffixes & _VIDEO_SUFFIXES:
            ordered = numbered_images(Path(place))
            yield Path(place), None if ordered else "images whose names do not end in a number"
        else:
            yield from _judge(paths)


def _judge(paths: Iterable[Path]) -> Iterator[Candidate]:
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in _SIDECAR_SUFFIXES or path.name.startswith("."):
            continue
        reason = f"not a video by its name ({suffix or 'no suffix'})"
        if suffix in IMAGE_SUFFIXES:
            reason = "a single image; a video is a folder of numbered ones"
        yield path, None if suffix in _VIDEO_SUFFIXES else reason


def _name(path: Path, base: Path) -> str:
    """Relative, with forward slashes and composed accents, so that it is the same on every machine."""
    relative = path.relative_to(base).as_posix()
    return unicodedata.normalize("NFC", path.name if relative == "." else relative)


def _stamp(path: Path) -> list[int]:
    """Size and time of the last change; of a folder, the number of its images and its own time."""
    try:
        status = path.stat()
    except OSError:
        return []  # a link to nothing: the probe will say so
    size = len(numbered_images(path)) if path.is_dir() else status.st_size
    return [size, status.st_mtime_ns]


def _probe_many(paths: dict[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Probe in threads (decoders let go of the interpreter lock); a bar appears when it takes long."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    bar = progress.add_task("looking into videos", total=len(paths))
    began = time.monotonic()
    try:
        for name, entry in zip(paths, workers.map(_probe, paths.values()), strict=True):
            yield name, entry
            progress.advance(bar)
            if not progress.live.is_started and time.monotonic() - began > _QUIET:
                progress.start()
    finally:
        progress.stop()
        workers.shutdown(cancel_futures=True)


def _probe(path: Path) -> dict[str, Any]:
    try:
        info = asdict(_format(path)[0](str(path)))
    except Unreadable as error:
        return {"reason": str(error)}
    del info["path"]
    return {"info": info}


def _cache_file(found: Found) -> Path:
    folder = os.environ.get(CACHE_VARIABLE) or "~/.cache/video_world_models"
    key = json.dumps([_VERSION, av.__version__, str(found.base), found.root])
    return Path(os.path.expanduser(folder)) / f"videos-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _load(cache: Path) -> dict[str, Any]:
    try:
        return json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _save(cache: Path, entries: dict[str, Any]) -> None:
    """Whole or not at all: several processes may write the same at once."""
    draft = cache.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # a folder that cannot be written to means no cache, nothing worse
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(entries), encoding="utf-8")
        draft.replace(cache)
