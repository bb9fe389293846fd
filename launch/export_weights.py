"""The export script: a trained video transformer as diffusers loads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launch.options import run_command
from launch.problems import CommandError, Problem


@dataclass
class ExportOptions:
    """What to export, and how."""

    ckpt: Path = field(
        metadata={"help": "run, stage or export folder, or checkpoint, of a model with a backbone"}
    )
    to: Path = field(metadata={"help": "folder to write to"})
    format: Literal["model", "lora"] = field(
        default="model",
        metadata={"help": "model: the whole transformer, additions merged; lora: the additions alone"},
    )


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code."""
    return run_command(ExportOptions, "export_weights.py", tokens, export_weights)


def export_weights(options: ExportOptions) -> None:
    """Write the transformer of a checkpoint, and say how to load it.

    Raises:
        CommandError: there is no such checkpoint, or nothing in it that diffusers knows.
    """
    from checkpoints.own import CheckpointError
    from recipes.stage import Stage

    try:
        model: Any = Stage.load(options.ckpt)
    except CheckpointError as error:
        raise CommandError([Problem("ckpt", str(error))]) from error
    if not hasattr(model, "backbone") or not hasattr(model, "finetuning"):
        raise CommandError([Problem("ckpt", f"a {type(model).__name__} has no video transformer to export")])
    try:
        WRITERS[options.format](model, options.to)
    except CheckpointError as error:
        raise CommandError([Problem("ckpt", str(error))]) from error


def write_model(model: Any, folder: Path) -> None:
    from checkpoints.diffusers_transformers import save, settings

    weights = model.finetuning.merged(model.backbone)
    save(backbone=model.backbone, weights=weights, folder=folder)
    name = settings(model.backbone)["_class_name"]
    print(f"wrote {folder}: {sum(weight.numel() for weight in weights.values()):,} parameters")
    print(f"load:      diffusers.{name}.from_pretrained({str(folder)!r})")
    print(f"train on:  python train.py recipe=... weights={folder}")


def write_additions(model: Any, folder: Path) -> None:
    """The additions, and beside them, since no LoRA file has a place for it, what was trained in full."""
    from checkpoints.diffusers_transformers import save_additions
    from checkpoints.own import CheckpointError
    from components.finetuning.lora import Lora

    tuning = model.finetuning
    if not isinstance(tuning, Lora):
        raise CheckpointError(
            f"trained with {type(tuning).__name__.lower()}, there are no additions; format=model"
        )
    files = save_additions(finetuning=tuning, backbone=model.backbone, folder=folder)
    for file, count in files.items():
        print(f"wrote {file}: {count} tensors")
    print(f"load:      pipeline.load_lora_weights({str(folder)!r})")


WRITERS = {"model": write_model, "lora": write_additions}
