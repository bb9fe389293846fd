"""Check what belongs to no component: the groups that every recipe has, and the values that commands read."""

from typing import Any

from launch.check import describe, fits
from launch.problems import Problem

PARTS = ("data", "loader", "model", "trainer")  # each a component
GROUPS = ("clip", "callbacks")
VALUES: dict[str, Any] = {
    "seed": int,
    "threads": int | None,
    "clip.num_frames": int,
    "clip.context_frames": int,
    "clip.height": int,
    "clip.width": int,
    "clip.fps": float | None,
    "clip.action_dim": int,
    "clip.state_dim": int,
    "trainer.max_steps": int,
}
ABOVE_ZERO = ("threads", "clip.height", "clip.width", "clip.fps", "trainer.max_steps")


def part_types() -> dict[str, Any]:
    """What the parts of a config must be, as a constructor's annotations would say it."""
    from lightning.pytorch import Callback, LightningDataModule, Trainer

    from datamodules import ClipSource
    from recipes.stage import Stage

    return {
        "data": ClipSource,
        "cache": ClipSource | None,
        "loader": LightningDataModule,
        "model": Stage,
        "trainer": Trainer,
        "callbacks": dict[str, Callback | None],
    }


def check_plain(raw: dict[str, Any]) -> list[Problem]:
    """What is missing or of the wrong type; references, and what is still ???, are for later checks."""
    problems = []
    for part in (*PARTS, *GROUPS):
        if not isinstance(raw.get(part), dict):
            problems.append(Problem(part, "a run needs it; it cannot be deleted, null or a value"))
        elif part in PARTS and not isinstance(raw[part].get("_component_"), str):
            problems.append(Problem(part, "needs a _component_, which is a dotted path"))
    for path, annotation in VALUES.items():
        group, _, key = path.rpartition(".")
        holder = raw.get(group) if group else raw
        if not isinstance(holder, dict):
            continue
        if key not in holder:
            problems.append(Problem(path, f"a run needs it: {describe(annotation)}"))
            continue
        value = holder[key]
        if isinstance(value, str) and ("${" in value or value == "???"):
            continue
        if not fits(value, annotation):
            problems.append(Problem(path, f"expected {describe(annotation)}, got {value!r}"))
        elif path in ABOVE_ZERO and value is not None and value <= 0:
            positive = (
                describe(annotation).replace("an ", "a positive ").replace("a number", "a positive number")
            )
            problems.append(Problem(path, f"expected {positive}, got {value!r}"))
        elif path == "clip.num_frames" and value < 0:
            problems.append(Problem(path, f"expected frames of a clip, 0 for texts alone, got {value!r}"))
    return problems
