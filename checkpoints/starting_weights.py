"""What a training starts from: weights of another run, public ones, or where it was stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import nn

from checkpoints import diffusers_transformers
from checkpoints.own import (
    CheckpointError,
    Refused,
    check_whole,
    checkpoints_in,
    load_parts,
    public_transformer,
    read_weights,
)


def start_from(model: nn.Module, path: Path) -> list[str]:
    """Give a model the weights that a path has for it; returns what the user should know, line by line.

    path: what `find_weights` finds, of whose parts those are taken that the model has; or a transformer's
        folder in diffusers' format, for the model's backbone.

    Raises:
        CheckpointError: names the first tensor that does not fit.
    """
    folder = public_transformer(path)
    if folder is None:
        _, state = read_weights(path)
        left = load_parts(model, state, path)
        told = f"weights from {path}; not of {', '.join(left)}, which only one of the models has"
        return [told] if left else []
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise CheckpointError(f"{path}: weights of a transformer, and {type(model).__name__} has no backbone")
    filled = diffusers_transformers.fill(folder=folder, backbone=backbone)
    told = f"backbone from {folder}: {filled.taken} tensors"
    return [f"{told}; new against it: {', '.join(filled.fresh)}" if filled.fresh else told]


def with_parts_of(node: Mapping[str, object], finished: list[Path]) -> list[Path]:
    """Of finished models' folders those that have a part by the name of an argument of a model's node."""
    return [folder for folder in finished if part_names(folder) & node.keys()]


def part_names(folder: Path) -> set[str]:
    """Names of the parts that an exported model has weights of."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118, it is no mapping


def newest_whole(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint of a stage that can be read; one cut short is passed over with a warning.

    Raises:
        Refused: one holds objects; it was not written by a run.
    """
    for path in reversed(checkpoints_in(folder)):
        try:
            check_whole(path)
        except Refused:
            raise
        except CheckpointError as error:
            say(f"warning: {error}; trying the one before")
        else:
            return path
    return None
