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
        for row in rows(by_predictor):
            table.add_row(*row)
        Console().print(table)
        for note in dict.fromkeys(note for report in by_predictor.values() for note in report.notes):
            about = [name for name, report in by_predictor.items() if note in report.notes]
            print(f"  note{'' if len(about) == len(by_predictor) else ' on ' + ', '.join(about)}: {note}")
        showing = [name for name, r in by_predictor.items() if r.pictures or r.videos or r.files]
        for predictor, report in by_predictor.items():
            own = f"{predictor}/" if len(showing) > 1 else ""
            for metric, value in report.values.items():
                writer.add_scalar(f"{suite}/{group}/{metric}/{predictor}", value)
            for name, given in report.pictures.items():
                image = given if given.dtype == torch.uint8 else given.clamp(0, 1).mul(255).round().byte()
                writer.add_image(f"{suite}/{own}{name}", image)
                write_png(_within(folder / suite, f"{own}{name}.png"), image)
            for name, video in report.videos.items():
                shown = enlarge(video)
                write_mp4(_within(folder / suite, f"{own}{name}.mp4"), shown, VIDEO_FPS)
                moving = gif_summary(f"{suite}/{own}{name}", gif_bytes(shown, VIDEO_FPS), *shown.shape[-2:])
                writer._get_file_writer().add_summary(moving)
            for name, text in report.files.items():
                _within(folder / suite, f"{own}{name}").write_text(text)
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
    (folder / f"{suite}.md").write_text("".join(map(markdown, reports, reports.values())))


def rows(by_predictor: dict[str, Any]) -> list[list[str]]:
    """A line a metric: its name and a cell for each predictor, with the interval where there is one."""
    metrics = list(dict.fromkeys(m for report in by_predictor.values() for m in report.values))
    ends = {metric + end for metric in metrics for end in ("_low", "_high") if f"{metric}_low" in metrics}
    return [
        [metric, *(_cell(report.values, metric) for report in by_predictor.values())]
        for metric in metrics
        if metric not in ends
    ]


def markdown(group: str, by_predictor: dict[str, Any]) -> str:
    """The same as a table of Markdown."""
    head = ["", *by_predictor]
    lines = [head, ["---"] * len(head), *rows(by_predictor)]
    return f"{group}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _cell(values: dict[str, float], metric: str) -> str:
    if metric not in values:
        return "-"
    told = f"{values[metric]:.4g}"
    if f"{metric}_low" not in values:
        return told
    return f"{told} [{values[f'{metric}_low']:.2g}, {values[f'{metric}_high']:.2g}]"


def _within(folder: Path, name: str) -> Path:
    """Where a file of this name goes, with its folder made."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name


def _plain(value: float) -> float | str:
    """A number as JSON can hold it: what is not finite becomes its name."""
    return value if math.isfinite(value) else str(value)
