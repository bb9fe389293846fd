"""Run the stages of a recipe: build from the checked config, fit, record."""

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from checkpoints.build import build, locate
from checkpoints.files import CheckpointFiles
from checkpoints.own import WEIGHTS, check_whole, export, public_transformer
from checkpoints.starting_weights import newest_whole, start_from, with_parts_of
from components.metrics.lpips import lpips_available, lpips_hint
from launch.check import check
from launch.context import SharedRowsDDP, check_context
from launch.failures import problem_at
from launch.fsdp import FSDP
from launch.kept import adopt, find_kept, keep
from launch.plain import check_plain
from launch.problems import CommandError, Problem
from launch.processes import limit_waiting
from launch.references import resolve

Config = dict[str, Any]
# what the launcher passes to a node itself, beside what the config holds
GIVEN = {
    "trainer": {"default_root_dir", "logger", "callbacks", "max_epochs", "use_distributed_sampler"},
    "loader": {"source", "num_batches"},
    "cache": {"source"},
}


@dataclass
class Outcome:
    """How a stage ended. metrics: the last of every logged scalar. seconds: of this session."""

    folder: Path
    steps: int
    seconds: float
    metrics: dict[str, float]


def prepare(raw: Config) -> Config:
    """Check a config and resolve it, with what only the data can tell filled in.

    Raises:
        CommandError: every problem found.
    """
    plain = check_plain(raw)
    resolved, problems = resolve(raw)
    missing = {problem.path for problem in [*problems, *plain]}
    if resolved:
        problems += check(raw, resolved, missing, GIVEN)
    elif plain:
        problems = []  # what could not be filled in follows from these
    problems = plain + problems
    if problems:
        raise CommandError(problems)
    check_context(resolved)
    return resolved


def open_source(raw: Config, resolved: Config) -> tuple[Any, Config]:
    """Build the data source and write what it promises into the config's `clip` group.

    Returns the source and the config resolved again.
    """
    with problem_at("data"):
        source = build(resolved["data"])
        spec = source.spec()
    raw["clip"] |= {"action_dim": spec.action_dim, "state_dim": spec.state_dim}
    return source, prepare(raw)


def build_model(resolved: Config, source: Any) -> Any:
    """The recipe's model for clips of this source, its initial weights a function of the seed alone."""
    torch.manual_seed(resolved["seed"])
    random.seed(resolved["seed"])  # these two for libraries that draw from them
    np.random.seed(resolved["seed"] % 2**32)  # noqa: NPY002
    with problem_at("model"):
        model = build(resolved["model"])
        model.check_fits(source.spec())
    model.remember(resolved)
    return model


def run_stage(
    raw: Config, folder: Path, *, resume: Path | None, weights: list[Path], say: Callable[[str], None]
) -> Outcome:
    """Train one stage in its folder.

    resume: a checkpoint of this very stage to go on from.
    weights: where the previous stage or another run left theirs, or public ones; parts that both models have
        are taken, one after the other.
    """
    from lightning.pytorch.loggers import TensorBoardLogger

    resolved = prepare(raw)
    torch.set_num_threads(resolved["threads"] or max(1, (os.cpu_count() or 1) // _local_processes()))
    source, resolved = open_source(raw, resolved)
    model = build_model(resolved, source)
    for path in weights if resume is None else []:
        with problem_at("weights"):
            for told in start_from(model, path):
                say(told)
    options = resolved["trainer"].copy()
    if str(options.get("precision")).startswith("64"):
        model.double()  # Lightning does so only after it has read a checkpoint into what is there
    context = check_context(resolved)
    shared = {"context": context, "layout": resolved["parallel"]["layout"]} if context > 1 else {}
    if options.get("strategy") == "fsdp":
        with problem_at("trainer.strategy"):
            options["strategy"] = FSDP.of(model, **shared)
    elif shared:
        options["strategy"] = SharedRowsDDP(**shared)
    if options.get("gradient_clip_val") and not model.automatic_optimization:
        stage = f"stages.{resolved['stage']}.trainer.gradient_clip_val"
        told = f"{type(model).__name__} steps its optimisers itself and clips nothing; set {stage}=null"
        raise CommandError([Problem("trainer.gradient_clip_val", told)])
    steps = options.pop("max_steps") * (options.get("accumulate_grad_batches") or 1)
    clips = source
    if resolved.get("cache") is not None:
        with problem_at("cache"):
            clips = build(resolved["cache"], source=source)
            if resume is not None:  # what made the latents is in the checkpoint
                start_from(model, resume)
            clips.check_made_by(model)
            model.no_text = clips.no_text()
    with problem_at("loader"):
        loader = build(resolved["loader"], source=clips, num_batches=steps)
    callbacks = [build(node) for node in resolved["callbacks"].values() if node is not None]
    interval = options.get("val_check_interval")
    if isinstance(interval, int):
        options["val_check_interval"] = min(interval, steps)
    with problem_at("trainer"):
        trainer = build(
            options,
            default_root_dir=str(folder),
            logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
            callbacks=callbacks,
            max_epochs=1,
            use_distributed_sampler=False,
        )
    trainer.strategy.checkpoint_io = CheckpointFiles()
    limit_waiting(trainer)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        weights_trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        does = f"{steps} steps of {weights_trained:,} weights, writing to {folder}"
        does = does if model.trains else "every clip once"
        say(f"stage {resolved['stage']}: {does}")
        if model.trains and source.spec().num_frames and not lpips_available():
            say(lpips_hint())
    started = time.monotonic()
    if model.trains:
        trainer.fit(model, datamodule=loader, ckpt_path=resume, weights_only=True)
    else:
        steps = 0
        trainer.predict(model, datamodule=loader, return_predictions=False)
    outcome = Outcome(
        folder=folder,
        steps=steps,
        seconds=time.monotonic() - started,
        metrics={name: float(value) for name, value in trainer.callback_metrics.items()},
    )
    if model.trains:
        export(model, resolved, folder / "model", writes=trainer.is_global_zero)
    if trainer.is_global_zero:
        if resolved.get("kept_in") and all((path / WEIGHTS).is_file() for path in weights):
            say(f"kept for other runs in {keep(resolved, folder / 'model', weights)}")
        record = {"steps": steps, "seconds": outcome.seconds, "metrics": outcome.metrics}
        (folder / "result.json").write_text(json.dumps(record, indent=1))
    trainer.strategy.barrier()
    return outcome


def run_stages(
    stages: dict[str, Config],
    run: Path,
    *,
    resume: Path | None,
    weights: Path | None,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Run stages in order, each from all weights before it that share a part; finished ones are skipped.

    resume: a checkpoint chosen by name; otherwise the newest of the unfinished stage is used.
    weights: of another run, for the first stage to start from; public ones of a transformer are for the first
        stage that trains one.
    """
    outcomes = []
    base = weights if weights is not None and public_transformer(weights) is not None else None
    given = [weights] if weights is not None and base is None else []
    finished: list[Path] = []
    for name, raw in stages.items():
        folder = run / name
        lasts = locate(raw["model"]["_component_"]).trains  # of a cache only a look tells what clips it lacks
        if lasts and (folder / "result.json").is_file() and resume is None:
            say(f"stage {name}: finished before, skipped")
        else:
            with problem_at(f"resume={resume or run}"):
                if resume is not None and resume.parent.parent == folder:
                    check_whole(resume)
                    start: Path | None = resume
                else:
                    start = newest_whole(folder, say)
            taken = given or with_parts_of(raw["model"], finished)
            known = all((path / WEIGHTS).is_file() for path in taken)
            fresh = raw.get("kept_in") and start is None and known
            kept = find_kept(prepare(raw), taken) if fresh else None
            if kept is not None:
                say(
                    f"stage {name}: trained before, with the same config on the same clips; taken from {kept}"
                )
                adopt(kept, folder)
                finished.append(folder / "model")
                continue
            given = []
            if base is not None and "backbone" in raw["model"]:
                taken.append(base)
                base = None
            outcomes.append(run_stage(raw, folder, resume=start, weights=taken, say=say))
        if (folder / "model").is_dir():
            finished.append(folder / "model")
    return outcomes


def _local_processes() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
