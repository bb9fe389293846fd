"""A cache of latents on disk: what it was made with, its shards, and an index of them.

    cache.json                   what made the latents, and how many clips belong in it
    shards/NAME.safetensors      clips of one split and one bucket; NAME is a hash of their keys
    manifest.jsonl               a line a clip, sorted by key; written when all chosen clips are there

A file is written under another name and renamed when it is whole, so that whatever bears its name is
complete. No shard is ever changed: clips that come later make shards of their own.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.latent_fingerprint import Fingerprint, differences
from datamodules import ClipSource, SourceError, Split
from datamodules.latent_shards import Entry, entries_of

FORMAT = 1  # raise it when latents of the same settings would be made or stored in another way
NO_TEXT = "no_text"  # the shard that holds the features of the empty text alone


class CacheFolder:
    """The files of one cache."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.shards = self.root / "shards"

    def claim(self, fingerprint: Fingerprint, chosen: Mapping[Split, int | None], *, write: bool) -> None:
        """Begin a cache, or go on with one that was made alike; one process is to `write`.

        chosen: how many clips of each split belong in it, None = all.
        Raises: SourceError that names all that differs from what the cache was made with.
        """
        here = plain({"format": FORMAT} | fingerprint)
        told = self._told() if any(self.shards.glob("*.safetensors")) else None
        self.refuse(differences(told["made with"] if told else here, here))
        if write:
            content = json.dumps({"made with": here, "chosen": dict(chosen)}, indent=1)
            place(self.root / "cache.json", content.encode())

    def refuse(self, differing: list[str]) -> None:
        """Raise SourceError if anything differs."""
        if differing:
            raise SourceError(
                f"{self.root}: its latents were made with other settings: {'; '.join(differing)}; "
                "name another folder, or remove this one to make them anew"
            )

    @property
    def made_with(self) -> Fingerprint:
        return self._finished()["made with"]

    @property
    def chosen(self) -> dict[Split, int | None]:
        """How many clips of each split belong in it, None = all."""
        return self._finished()["chosen"]

    def write(self, name: str, content: bytes) -> None:
        """Add a shard; see latent_shards.pack."""
        place(self.shards / f"{name}.safetensors", content)

    def written(self) -> list[Entry]:
        """Every clip of every shard, sorted by key."""
        paths = sorted(self.shards.glob("*.safetensors"))
        entries = {entry.key: entry for path in paths for entry in entries_of(path)}
        return [entries[key] for key in sorted(entries)]

    def finish(self) -> str:
        """Index all that is written; returns a hash of the index."""
        for left in self.shards.glob("*.new*"):
            left.unlink(missing_ok=True)  # by a process that was killed while it wrote
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in self.written()).encode()
        place(self.root / "manifest.jsonl", lines)
        return hashlib.sha256(lines).hexdigest()

    def manifest(self) -> list[Entry]:
        """The index. Raises: SourceError where the cache was not finished."""
        path = self.root / "manifest.jsonl"
        if not path.is_file():
            raise SourceError(f"{self.root}: holds no finished cache of latents; run the stage that makes it")
        entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [Entry(**entry | {"grid": tuple(entry["grid"])}) for entry in entries]

    def _finished(self) -> dict[str, Any]:
        told = self._told()
        if told is None:
            raise SourceError(f"{self.root}: no cache of latents there; run the stage that makes it")
        return told

    def _told(self) -> dict[str, Any] | None:
        path = self.root / "cache.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError as error:
            raise SourceError(f"{path}: not readable; remove {self.root} to make its latents anew") from error


def place(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new{os.getpid()}")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def source_settings(source: ClipSource) -> Fingerprint:
    """Class of a source and what decides how its clips look: its settings(), else what it was given."""
    told = source.settings() if hasattr(source, "settings") else vars(source)
    values = {name: value for name, value in told.items() if not name.startswith("_") and _is_plain(value)}
    name = f"{type(source).__module__}.{type(source).__qualname__}"
    return {"source": name} | {f"source.{key}": value for key, value in values.items()}


def plain(fingerprint: Fingerprint) -> Fingerprint:
    """As it comes back from a file: tuples as lists."""
    return json.loads(json.dumps(fingerprint))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
