"""Captions that lie beside videos."""

import csv
import logging
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from datamodules import SourceError
from datamodules.decoding import VideoInfo
from datamodules.reasons import grouped

log = logging.getLogger("datamodules")


def captions(base: Path, infos: Mapping[str, VideoInfo]) -> dict[str, str]:
    """Name -> caption: of `clip.txt` beside `clip.mp4`, else of captions.csv (file_name, text) in the root.

    Raises: SourceError for a captions.csv without these columns.
    """
    texts: dict[str, str] = {}
    table = base / "captions.csv"
    if table.is_file():
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file_name", "text"} <= set(rows.fieldnames or ()):
                raise SourceError(f"{table}: its first line must name the columns file_name,text")
            for row in rows:
                name = (row["file_name"] or "").strip().replace("\\", "/")
                texts[unicodedata.normalize("NFC", name)] = " ".join((row["text"] or "").split())
        strangers = {name: "not among the videos" for name in texts if name not in infos}
        if strangers:
            log.warning("%s: %s", table, grouped(strangers, "; "))
    for name, info in infos.items():
        path = Path(info.path)
        beside = path.with_suffix(".txt") if path.is_file() else path.with_name(f"{path.name}.txt")
        if beside.is_file():
            texts[name] = " ".join(beside.read_text(encoding="utf-8-sig", errors="replace").split())
    return texts
