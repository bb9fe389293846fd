"""The evaluate script: a suite judges a checkpoint, or a folder of videos, beside the trivial baselines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.loading import load_changed, of_the_model
from launch.options import run_command
from launch.presets import kinds
from launch.problems import CommandError, Problem, did_you_mean, names

FOLDERS = ("videos", "reference")


@dataclass
class EvaluateOptions:
    """What to evaluate."""

    suite: str = field(
        metadata={
            "help": "video, physics, long, recall, language, needle, codes, go, control; suite.KEY=VALUE"
        }
    )
    ckpt: str | None = field(
        default=None,
        metadata={"help": "a run folder, a checkpoint or an export; a,b,c makes one table of several"},
    )
    videos: Path | None = field(default=None, metadata={"help": "a folder of generated videos instead"})
    reference: Path | None = field(default=None, metadata={"help": "the true videos of the same names"})
    split: str = field(default="test", metadata={"help": "contexts from train, val or test"})
    clips: int = field(default=64, metadata={"help": "clips of each group"})
    batch_size: int = field(default=8, metadata={"help": "clips at a time"})
    context_frames: int | None = field(
        default=None, metadata={"help": "frames that are given; null = as many as in training"}
    )
    seed: int = field(default=0, metadata={"help": "of the samples"})
    out: Path | None = field(default=None, metadata={"help": "folder to write to; null = beside the run"})


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code. Tokens model.KEY=VALUE change the model that was trained."""
    tokens = [f"suite.{token}" if token.startswith(("env=", "policy=")) else token for token in tokens]
    own = [token for token in tokens if token.startswith("suite.")]
    model, others = of_the_model([token for token in tokens if token not in own])
    return run_command(
        EvaluateOptions, "evaluate.py", others, lambda options: write_evaluation(options, own, model)
    )


def write_evaluation(options: EvaluateOptions, changes: list[str], of_model: list[str]) -> None:
    """Evaluate, and say where the results are. changes: arguments of the suite, `suite.samples=100`."""
    folder = evaluate(options, changes, of_model)
    print(f"\nwrote {folder}/{options.suite}.json")
    print(f"look:      tensorboard --logdir {folder}")


def evaluate(options: EvaluateOptions, changes: list[str], of_model: list[str]) -> Path:
    """Judge, print the table, write JSON and TensorBoard; returns the folder written to.

    Raises:
        CommandError: what is asked for cannot be had.
    """
    from checkpoints.build import build
    from checkpoints.own import CheckpointError
    from datamodules import SourceError
    from launch.reports import record

    suites = kinds()["evaluation"].nodes
    problems = []
    suite, node = None, {}
    if options.suite not in suites:
        hint = f"{did_you_mean(options.suite, suites)}; {names(suites)}"
        problems.append(Problem(f"suite={options.suite}", f"no such suite{hint}"))
    else:
        node = suite_node(options.suite, changes)
        try:
            suite = build(node)
        except ValueError as error:
            problems.append(Problem(f"suite={options.suite}", str(error)))
    alone = not getattr(suite, "needs_model", True)
    if (options.ckpt is not None) + (options.videos is not None) + alone != 1:
        told = "give either ckpt=PATH or videos=PATH reference=PATH"
        problems.append(Problem("ckpt", "this suite and policy need none" if alone else told))
    if (options.videos is None) != (options.reference is None):
        problems.append(Problem("reference", "videos and reference go together"))
    if problems:
        raise CommandError(problems)
    try:
        if alone:
            reports = {"test": _asked(suite, None)}
        elif options.ckpt is not None:
            reports = of_checkpoints(options, node, of_model)
        else:
            reports = of_folders(options, node)
    except (CheckpointError, SourceError) as error:
        path = "ckpt" if isinstance(error, CheckpointError) else "data"
        raise CommandError([Problem(path, str(error))]) from error
    several = options.ckpt is not None and len(paths_in(options.ckpt)) > 1
    beside = options.videos or Path("runs" if several or options.ckpt is None else options.ckpt)
    folder = options.out or (beside.parent if beside.is_file() else beside) / "evaluation"
    asked = {key: str(value) for key, value in vars(options).items() if value is not None}
    asked |= dict(token.split("=", 1) for token in of_model)
    record(options.suite, asked, reports, folder)
    return folder


def of_checkpoints(
    options: EvaluateOptions, node: dict[str, Any], of_model: list[str]
) -> dict[str, dict[str, Any]]:
    """Reports by group and predictor; of several checkpoints each is a column by its name.

    Baselines are those of the first checkpoint, and of later ones that were trained on other clips.
    """
    from checkpoints.own import read_weights

    assert options.ckpt is not None
    paths = paths_in(options.ckpt)
    if len(paths) == 1:
        return of_checkpoint(paths[0], options, node, of_model)
    seen: list[Any] = []
    merged: dict[str, dict[str, Any]] = {}
    datas = [read_weights(path)[0].get("data") for path in paths]  # a broken one is told before all work
    for name, path, data in zip(short_names(paths), paths, datas, strict=True):
        for group, by_predictor in of_checkpoint(path, options, node, of_model).items():
            mine = {name: by_predictor.pop("model")}
            others = {f"{key} ({name})" if seen else key: report for key, report in by_predictor.items()}
            merged.setdefault(group, {}).update(mine | ({} if data in seen else others))
        seen.append(data)
    return merged


def paths_in(text: str) -> list[Path]:
    """Paths between commas; a path that is there may hold commas."""
    return [Path(text)] if Path(text).exists() else [Path(part.strip()) for part in text.split(",")]


def short_names(paths: list[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        ends = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{path} ({number})" for number, path in enumerate(paths, start=1)]


def of_checkpoint(
    path: Path, options: EvaluateOptions, node: dict[str, Any], of_model: list[str]
) -> dict[str, dict[str, Any]]:
    """Reports by group and predictor: the checkpoint, copy last, constant velocity, the training mean."""
    import torch

    from checkpoints.build import build, locate, parameters
    from components.baselines.constant_velocity import ConstantVelocity
    from components.baselines.copy_last import CopyLast
    from components.randomness import mix
    from evaluation import Suite
    from launch.predictors import BaselinePredictor, ModelPredictor, TrainingMean
    from recipes.stage import Stage
    from recipes.world_model import WorldModel

    suite = build(node)
    if not isinstance(suite, Suite):  # it asks the model itself, which need not be one of video
        return {"test": _asked(suite, load_changed(Stage, path, of_model))}
    model = load_changed(WorldModel, path, of_model)
    config: dict[str, Any] = dict(model.hparams)
    if options.context_frames is not None:
        model.context_frames = options.context_frames
    trained = config["clip"]["num_frames"] - model.context_frames
    if model.context_frames < 1 or trained < 1:
        told = f"a clip has {config['clip']['num_frames']} frames; give at least 1 and leave 1 to predict"
        raise CommandError([Problem(f"context_frames={model.context_frames}", told)])
    horizon = max(1, round(suite.horizon * trained))
    predictors: dict[str, Any] = {
        "model": ModelPredictor(model),
        "copy last": BaselinePredictor(CopyLast()),
        "constant velocity": BaselinePredictor(ConstantVelocity()),
        "training mean": BaselinePredictor(TrainingMean(build(config["data"]).split("train"))),
    }
    reports: dict[str, dict[str, Any]] = {}
    takes = parameters(locate(config["data"]["_component_"]))
    groups = {name: changes for name, changes in suite.groups.items() if changes.keys() <= takes.keys()}
    for group, changes in (groups or {"test": {}}).items():  # a source without regimes is one group
        data = config["data"] | {"num_frames": model.context_frames + horizon} | changes
        dataset = build(data).split(options.split)
        judges = {name: build(node) for name in predictors}
        for number, clip in progress(batches(dataset, options), f"{options.suite}, {group}"):
            context, truth = model.split(clip)
            for name, predictor in predictors.items():
                generator = torch.Generator().manual_seed(mix(options.seed, number))
                future, timing = predictor(context, horizon, suite.samples, generator)
                try:
                    judges[name].update(future, truth, clip, timing)
                except ValueError as error:
                    raise CommandError([Problem(f"suite={options.suite}", str(error))]) from error
        reports[group] = {name: judge.compute() for name, judge in judges.items()}
    return reports


def _asked(suite: Any, model: Any) -> dict[str, Any]:
    """Reports of a suite that asks a model more than rollouts, and of guessing."""
    from evaluation import Report

    try:
        found = suite(model)
        guessed = Report(values=suite.chance({} if model is None else dict(model.hparams)))
    except ValueError as error:
        raise CommandError([Problem("suite", str(error))]) from error
    report = found if isinstance(found, Report) else Report(values=found)
    for extra in ("notes", "pictures", "files"):
        if hasattr(suite, extra):
            setattr(report, extra, getattr(suite, extra)())
    return {"model": report} | ({"guessing": guessed} if guessed.values else {})


def of_folders(options: EvaluateOptions, node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The report of generated videos against the true ones of the same names."""
    from checkpoints.build import build
    from datamodules.pairs import paired_videos
    from evaluation import Suite
    from recipes.world_model import pixels

    assert options.videos is not None
    assert options.reference is not None
    suite = build(node)
    if not isinstance(suite, Suite):
        raise CommandError([Problem(f"suite={options.suite}", "asks a model; give ckpt=PATH, not videos")])
    pairs = paired_videos(options.videos, options.reference)
    for _, (predicted, truth, clip) in progress(pairs, options.suite):
        suite.update(pixels(predicted)[None, None], pixels(truth)[None], clip)
    return {"videos": {"model": suite.compute()}}


def suite_node(name: str, changes: list[str]) -> dict[str, Any]:
    """The suite's preset with what the command line changes, checked against its constructor.

    Raises:
        CommandError: unknown arguments and wrong types.
    """
    from launch.check import check
    from launch.command import parse
    from launch.compose import change
    from launch.references import resolve

    raw = {"suite": dict(kinds()["evaluation"].nodes[name])}
    problems = change(raw, parse(changes))
    resolved, found = resolve(raw)
    problems += found + check(raw, resolved, set(), {})
    if problems:
        raise CommandError(problems)
    return resolved["suite"]


def batches(dataset: Any, options: EvaluateOptions) -> list[Any]:
    """Batches of evenly spread clips of one size, each made when its turn comes."""
    from datamodules.batches import collate
    from datamodules.clip_order import buckets_of

    count, size = min(options.clips, len(dataset)), options.batch_size
    index = [i * len(dataset) // count for i in range(count)]
    groups = list(buckets_of(dataset, index).values()) or [index]
    parts = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    return [lambda part=part: collate([dataset[i] for i in part]) for part in parts]


def progress(items: Any, title: str) -> Iterator[tuple[int, Any]]:
    """Number the items, showing how far it is; items that are functions are called when their turn comes."""
    from rich.progress import track

    for number, item in enumerate(track(items, description=title, transient=True)):
        yield number, item() if callable(item) else item
