"""The train script: list, explain, estimate, train, resume, sweep."""

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from launch.presets import RUN_FOLDER
from launch.show import list_recipes

USAGE = """
train:     python train.py recipe=NAME [size=paper] [variant=NAME+NAME] [key=value ...] [~key ...]
explain:   python train.py recipe=NAME help=true      estimate: python train.py recipe=NAME dry=true
continue:  python train.py resume=RUN_FOLDER          sweep:    python train.py recipe=NAME seed=0,1,2"""


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code.

    0 done, 1 the run could not go on, 2 the command was wrong, 130 or 143 stopped by a signal.
    """
    if not tokens:
        print(list_recipes() + "\n" + USAGE)
        return 0
    from launch.problems import CommandError

    try:
        return _main(tokens)
    except CommandError as error:
        print(error.report("train.py"), file=sys.stderr)
        return 2


def _main(tokens: list[str]) -> int:
    from launch.command import expand, parse
    from launch.compose import compose
    from launch.problems import CommandError, Problem

    command = parse(tokens)
    if "resume" in command.words:
        return resume(command)
    if "recipe" not in command.words:
        raise CommandError([Problem("recipe=", "which recipe? `python train.py` lists them")])
    runs = expand(command)
    problems, composed = [], []
    for _, one in runs:
        stages, found = compose(one)
        problems += found + (_check(stages) if stages else [])
        composed.append(stages)
    if problems:
        raise CommandError(problems)
    if command.flag("help"):
        print(explain(next(iter(composed[0].values()))))
        return 0
    if command.flag("dry"):
        from launch.cost import estimate

        for stages in composed:
            for raw in stages.values():
                print(estimate(raw))
        return 0
    run = run_folder(command.words, command.words["recipe"])
    if len(runs) > 1:
        from launch.sweep import run_sweep

        return run_sweep(runs, run)
    begun = any(run.glob("*/checkpoints/*")) or any(run.glob("*/result.json"))
    if begun and "LOCAL_RANK" not in os.environ:
        fix = f"resume={run} goes on with it; another run_dir starts anew"
        raise CommandError([Problem(f"run_dir={run}", f"holds a run already; {fix}")])
    weights = _weights(command)
    stages = composed[0]
    run.mkdir(parents=True, exist_ok=True)
    record = {
        "recipe": command.words["recipe"],
        "stages": list(stages),
        "command": tokens,
        "weights": str(weights) if weights else None,
    }
    (run / "run.json").write_text(json.dumps(record, indent=1))
    import yaml

    for name, raw in stages.items():  # a resumed run meets this config, whatever has been edited
        (run / name).mkdir(exist_ok=True)
        (run / name / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return fit(stages, run, None, weights)


def resume(command: Any) -> int:
    """Continue a run from its folder, or from one of its checkpoints; overrides may extend it."""
    from launch.compose import change_stages
    from launch.presets import yaml_load
    from launch.problems import CommandError, Problem

    given = Path(command.words["resume"])
    path = given.resolve()
    run = next((folder for folder in [path, *path.parents] if (folder / "run.json").is_file()), None)
    if run is None or not path.exists():
        told = "no such run" if not path.exists() else "not a run folder: it holds no run.json"
        raise CommandError([Problem(f"resume={given}", told)])
    for word in command.words:
        if word != "resume":
            raise CommandError([Problem(f"{word}=", "cannot be changed when a run is resumed")])
    checkpoint = path if path.suffix == ".ckpt" else None
    record = json.loads((run / "run.json").read_text())
    stages = {name: yaml_load(run / name / "config.yaml") for name in record["stages"]}
    problems = change_stages(stages, command) + _check(stages)
    if problems:
        raise CommandError(problems)
    if run.is_relative_to(Path.cwd()):
        run = run.relative_to(Path.cwd())
    if checkpoint is not None:
        checkpoint = run / checkpoint.parent.parent.name / "checkpoints" / checkpoint.name
    weights = Path(record["weights"]) if record.get("weights") else None
    return fit(stages, run, checkpoint, weights)


def fit(stages: dict[str, Any], run: Path, checkpoint: Path | None, weights: Path | None) -> int:
    import logging
    import warnings

    from callbacks.checkpoint import Interrupted

    first = os.environ.get("LOCAL_RANK", "0") == "0"

    def say(line: str) -> None:
        if first:
            print(line, flush=True)

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    os.environ[RUN_FOLDER] = str(run)
    from launch.afterwards import afterwards
    from launch.failures import in_one_line
    from launch.processes import end_with_parent
    from launch.run import run_stages

    if "LOCAL_RANK" in os.environ:
        end_with_parent()
    try:
        outcomes = run_stages(stages, run, resume=checkpoint, weights=weights, say=say)
    except Interrupted as stopped:
        say(f"\nstopped by {stopped.signal_name} after step {stopped.step}; nothing is lost")
        say(f"continue:  python train.py resume={run}")
        return 130 if stopped.signal_name == "SIGINT" else 143
    except Exception as error:
        if (line := in_one_line(error, run)) is None:
            raise
        print(f"\ntrain.py: stopped: {line}", file=sys.stderr, flush=True)
        return 1
    for outcome in outcomes:
        minutes, seconds = divmod(round(outcome.seconds), 60)
        scores = {
            k: v
            for k, v in sorted(outcome.metrics.items())
            if k.startswith(("val/psnr", "val/ssim", "val/lpips"))
        }
        did = f"{outcome.steps} steps in " if outcome.steps else ""
        say(f"\nfinished {outcome.folder}: {did}{minutes} min {seconds} s")
        if scores:
            say("\n".join(f"  {name:<28} {value:.4g}" for name, value in scores.items()))
    for line in afterwards(run, list(stages.values())[-1]):
        say(line)
    return 0


def _weights(command: Any) -> Path | None:
    """The file that weights= names, found before anything is started."""
    from checkpoints.own import CheckpointError, find_weights
    from launch.problems import CommandError, Problem

    if "weights" not in command.words:
        return None
    try:
        return find_weights(Path(command.words["weights"])).resolve()
    except CheckpointError as error:
        raise CommandError([Problem("weights=", str(error))]) from error


def run_folder(words: dict[str, str], recipe: str) -> Path:
    """Where this run writes: run_dir, or runs/RECIPE/TIME; one folder for all processes of a run."""
    if RUN_FOLDER in os.environ and "LOCAL_RANK" in os.environ:
        return Path(os.environ[RUN_FOLDER])
    if "run_dir" in words:
        return Path(words["run_dir"])
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path("runs") / recipe / stamp
    number = 1
    while folder.exists():  # two runs begun in the same second
        number += 1
        folder = folder.with_name(f"{stamp}_{number}")
    return folder


def explain(raw: dict[str, Any]) -> str:
    """The composed config with one line of meaning a key."""
    from checkpoints.build import is_node
    from launch.compose import recipe_folders
    from launch.overrides import find, paths
    from launch.presets import kind_of_component
    from launch.references import resolve
    from launch.show import comments, describe_config

    meanings = {}
    for path in paths(raw):  # a node taken from a preset brings the preset's comments
        node = find(raw, path)
        kind = kind_of_component(node["_component_"]) if is_node(node) else None
        if kind is None:
            continue
        names = {name for name, preset in kind.nodes.items() if preset["_component_"] == node["_component_"]}
        for key, meaning in comments(kind.file).items():
            name, _, inside = key.partition(".")
            if inside and name in names:
                meanings[f"{path}.{inside}"] = meaning
    meanings |= comments(recipe_folders()[raw["recipe"]] / "config.yaml")
    resolved, _ = resolve(raw)
    return describe_config(raw, resolved, meanings)


def _check(stages: dict[str, Any]) -> list[Any]:
    from launch.problems import CommandError
    from launch.run import prepare

    problems = []
    for raw in stages.values():
        try:
            prepare(raw)
        except CommandError as error:
            problems += error.problems
    return problems
