"""What a finished run tells its user to do next."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from checkpoints.build import locate
from launch.command import parse
from launch.compose import compose
from launch.references import resolve

Config = dict[str, Any]


def afterwards(run: Path, last: Config) -> list[str]:
    """Where to look, and how to go on from the run's last stage."""
    from recipes.world_model import WorldModel

    made = locate(last["model"]["_component_"])
    lines = []
    if made.trains:
        lines.append(f"look:      tensorboard --logdir {run}      (rollouts as files: {run}/*/rollouts)")
    if issubclass(made, WorldModel) and last["clip"]["num_frames"]:  # of texts alone there are no samples
        lines.append(f"sample:    python sample.py ckpt={run}")
    elif (tokens := next_stage(run, last, trained=made.trains)) is not None:
        lines.append(f"next:      python train.py {shlex.join(tokens)}")
    return lines


def next_stage(run: Path, last: Config, *, trained: bool) -> list[str] | None:
    """The command line of the stage after the last one that ran, with what this run has made.

    Where all that was trained so far is kept for other runs, the plain command finds it and goes on.
    """
    record = json.loads((run / "run.json").read_text())
    command = parse(record["command"])
    words = {
        word: text for word, text in command.words.items() if word not in ("stage", "run_dir", "weights")
    }
    stages = compose(replace(command, words=words))[0]
    done = list(stages).index(last["stage"]) + 1 if last["stage"] in stages else len(stages)
    later = list(stages)[done:]
    if not later:
        return None
    if not record.get("weights") and all(stage.get("kept_in") for stage in list(stages.values())[:done]):
        return replace(command, words=words).tokens()
    words["stage"] = later[0]
    if trained or record.get("weights"):
        words["weights"] = str(run) if trained else record["weights"]
    changes = list(command.changes)
    key, roots = f"stages.{later[0]}.cache.root", _written(last)
    if roots and stages[later[0]].get("cache") and key not in dict(changes):
        changes.append((key, roots[0]))
    return replace(command, words=words, changes=changes).tokens()


def _written(stage: Config) -> list[str]:
    """Folders that a stage's callbacks write clips to."""
    callbacks = resolve(stage)[0]["callbacks"].values()
    return [node["root"] for node in callbacks if node is not None and "root" in node]
