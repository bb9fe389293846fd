"""The folder of a recording: whose it is, and that one process at a time writes to it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from datamodules import SourceError

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two recordings apart
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("datamodules")


def claim(root: Path, name: str, made_by: dict[str, Any]) -> IO[bytes]:
    """Make a folder this recording's, or see that it is; it stays locked until what is returned is closed.

    name: of the file that says what the episodes depend on, and is locked with flock: whoever is killed
    leaves no lock behind.

    Raises SourceError where root holds anything else, or another recording is writing to it.
    """
    file, made_by = root / name, json.loads(json.dumps(made_by))
    if not file.is_file() and root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise SourceError(f"{root} is there and is no recording; take another folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    claimed = file.open("a+b")
    try:
        _lock(claimed, root)
        claimed.seek(0)
        content = claimed.read()
        before = _read(content, root) if content else made_by
        changed = [key for key in {**before, **made_by} if before.get(key) != made_by.get(key)]
        if changed:
            told = ", ".join(f"{key}={before.get(key)}" for key in changed)
            raise SourceError(f"{root} was recorded with {told}; take another folder")
        if not content:
            claimed.write(json.dumps(made_by, indent=4).encode())
            claimed.flush()
    except BaseException:
        claimed.close()
        raise
    return claimed


def _read(content: bytes, root: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        raise SourceError(f"{root} is there and is no recording; take another folder") from None


def _lock(claimed: IO[bytes], root: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SourceError(
            f"{root}: another recording is writing to it; wait until it ends, or take another folder"
        ) from None
    except OSError as error:
        log.warning("%s cannot be locked (%s): let one recording at a time write to it", root, error)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    write(unfinished)
    unfinished.replace(path)
