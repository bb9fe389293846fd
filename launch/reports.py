"""What an evaluation leaves behind: tables on the screen, JSON, TensorBoard, pictures and files."""

import json
import math
from pathlib import Path
from typing import Any

VIDEO_FPS = 20.0


def record(suite: str, asked: dict[str, str], reports: dict[str, dict[str, Any]], folder: Path) -> None:
    """Print the tables; write JSON, files, and numbers, curves and pictures for TensorBoard.

    asked: what the command was given. reports: by group of clips and by predictor.
    """
    import torch
    from rich.console import Console
    from rich.table import Column, Table
    from torch.utils.tensorboard import SummaryWriter

    from components.media import enlarge, gif_bytes, gif_summary, write_mp4, write_png
    from evaluation.curves import draw_curves

    folder.mkdir(parents=True, exist_ok=True)
    writer = SummaryWriter(folder / suite)
    for group, by_predictor in reports.items():
        table = Table(
            Column("", no_wrap=True), *by_predictor, title=f"{suite}: {group}", title_justify="left"
        )
        for metric in dict.fromkeys(m for report in by_predictor.values() for m in report.values):
            cells = [report.values.get(metric) for report in by_predictor.values()]
            table.add_row(metric, *("-" if cell is None else f"{cell:.4g}" for cell in cells))
        Console().print(table)
        for note in dict.fromkeys(note for report in by_predictor.values() for note in report.notes):
            about = [name for name, report in by_predictor.items() if note in report.notes]
            print(f"  note{'' if len(about) == len(by_predictor) else ' on ' + ', '.join(about)}: {note}")
        for predictor, report in by_predictor.items():
            for metric, value in report.values.items():
                writer.add_scalar(f"{suite}/{group}/{metric}/{predictor}", value)
            for name, given in report.pictures.items():
                image = given if given.dtype == torch.uint8 else given.clamp(0, 1).mul(255).round().byte()
                writer.add_image(f"{suite}/{name}", image)
                write_png(_within(folder / suite, f"{name}.png"), image)
            for name, video in report.videos.items():
                shown = enlarge(video)
                write_mp4(_within(folder / suite, f"{name}.mp4"), shown, VIDEO_FPS)
                moving = gif_summary(f"{suite}/{name}", gif_bytes(shown, VIDEO_FPS), *shown.shape[-2:])
                writer._get_file_writer().add_summary(moving)
            for name, text in report.files.items():
                _within(folder / suite, name).write_text(text)
        for metric in dict.fromkeys(m for report in by_predictor.values() for m in report.curves):
            curves = {name: r.curves[metric] for name, r in by_predictor.items() if metric in r.curves}
            picture = draw_curves(curves, title=f"{metric}, {group}", x="predicted frame", y=metric)
            writer.add_image(f"{suite}/{group}/{metric}", picture)
    writer.close()
    found = {
        group: {
            name: {
                "values": {metric: _plain(value) for metric, value in report.values.items()},
                "curves": {metric: [*map(_plain, curve.tolist())] for metric, curve in report.curves.items()},
                "notes": report.notes,
            }
            for name, report in by_predictor.items()
        }
        for group, by_predictor in reports.items()
    }
    (folder / f"{suite}.json").write_text(json.dumps({"options": asked, "groups": found}, indent=1))


def _within(folder: Path, name: str) -> Path:
    """Where a file of this name goes, with its folder made."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name


def _plain(value: float) -> float | str:
    """A number as JSON can hold it: what is not finite becomes its name."""
    return value if math.isfinite(value) else str(value)
