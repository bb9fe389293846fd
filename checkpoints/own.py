"""Our own weights: read checkpoints safely, export safetensors, and build a model again from either."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from checkpoints.build import build
from checkpoints.trusted import strange_component

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PUBLIC = "diffusion_pytorch_model.safetensors"  # of diffusers' folders, also the beginning of an index's name
Change = Callable[[dict[str, Any]], dict[str, Any]]  # of a config
META = "meta.pt"  # what makes a folder the checkpoint of a sharded run


class CheckpointError(Exception):
    """One line for the user: what is missing or broken, and where."""


class Refused(CheckpointError):
    """A file that would execute code if it were loaded as it asks to be."""


def read_checkpoint(path: Path, *, parts: Collection[str] | None = None) -> dict[str, Any]:
    """A checkpoint's content, whole tensors on the CPU; never executes code from the file.

    path: a file, or the folder of a sharded run. parts: entries wanted of a folder; None = all.

    Raises:
        CheckpointError: no such file, or a truncated one.
        Refused: it holds more than tensors and plain values.
    """
    if path.is_dir():
        from checkpoints import sharded

        return sharded.read(path, parts=parts)
    return load_plain(path)


def check_whole(path: Path) -> None:
    """Raise what `read_checkpoint` would raise; of a folder only the lengths of its large files are read."""
    if path.is_dir():
        from checkpoints import sharded

        sharded.read_plain(path)
    else:
        load_plain(path)


def load_plain(path: Path) -> Any:
    """What a file of torch.save holds, tensors on the CPU; tensors and plain values only.

    Raises CheckpointError and Refused as `read_checkpoint` does.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "Unsupported global" in str(error) or "weights_only" in str(error):
            raise Refused(
                f"{path}: refused, the file holds objects besides tensors and plain values"
            ) from error
        raise CheckpointError(f"{path}: not a readable checkpoint, perhaps cut short") from error


def checkpoints_in(folder: Path) -> list[Path]:
    """Training checkpoints of a stage, oldest first."""
    return sorted((folder / "checkpoints").glob("step_*.ckpt"))


def stages_in(run: Path) -> list[Path]:
    """Stage folders of a run that have begun, in the order of their stages."""
    record = run / "run.json"
    if not record.is_file():
        return []
    names = json.loads(record.read_text())["stages"]
    return [run / name for name in names if (run / name / "config.yaml").is_file()]


def find_weights(path: Path) -> Path:
    """The newest weights under a run, stage or export folder or hf://owner/name, or the file itself.

    Raises:
        CheckpointError: there are none.
    """
    from checkpoints.hub import on_hub, pull

    if path.is_file() or (path / META).is_file():
        return path
    if (name := on_hub(path)) is not None:
        path = pull(name)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if public_transformer(path) is not None:
        return path
    for folder in [path, *reversed(stages_in(path))]:
        if (folder / WEIGHTS).is_file():
            return folder / WEIGHTS
        if (folder / "model" / WEIGHTS).is_file():
            return folder / "model" / WEIGHTS
        if found := checkpoints_in(folder):
            return found[-1]
    raise CheckpointError(f"{path}: no checkpoint in it yet")


def public_transformer(path: Path) -> Path | None:
    """The folder of a transformer in diffusers' format: path itself, or `transformer` in it."""
    for folder in (path, path / "transformer"):
        if (folder / CONFIG).is_file() and any(folder.glob(f"{PUBLIC}*")):
            return folder
    return None


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and weights of a checkpoint or an exported folder; averaged weights where they were kept."""
    path = find_weights(path)
    config, weights = _read(path)
    for part in ("model", "data"):  # what a loaded config builds
        if (strange := strange_component(config.get(part))) is not None:
            raise Refused(
                f"{path}: refused, its config names {strange}, which is no component of this project"
            )
    return config, weights


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        config = path.with_name(CONFIG)
        if not config.is_file():
            raise CheckpointError(f"{config}: missing beside {path.name}")
        try:
            return json.loads(config.read_text()), load_file(path)
        except Exception as error:
            raise CheckpointError(f"{path}: not a readable safetensors file, perhaps cut short") from error
    if path.is_dir() and not (path / META).is_file():
        told = "weights of a transformer alone; a training starts from them with weights="
        raise CheckpointError(f"{path}: {told}")
    checkpoint = read_checkpoint(path, parts=("hyper_parameters", "state_dict"))
    if "hyper_parameters" not in checkpoint or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of this project, it holds no config")
    return checkpoint["hyper_parameters"], checkpoint["state_dict"]


def load_model(path: Path, change: Change | None = None) -> Any:
    """Build the model that a checkpoint describes and give it the checkpoint's weights.

    change: of the config, before the model is built.
    Raises:
        CheckpointError: the file is broken, or its weights do not fit its config; names the first tensor.
    """
    config, weights = read_weights(path)
    if change is not None:
        config = change(config)
    try:
        model = build(config["model"])
    except (ImportError, TypeError) as error:
        raise CheckpointError(f"{path}: written by another version of the code: {error}") from error
    load_state(model, weights, path)
    model.remember(config)
    return model


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Pour weights into a model; every tensor must have its place and its shape.

    Raises:
        CheckpointError: names the first tensor that does not fit.
    """
    own = model.state_dict()
    for name in [*own, *weights]:
        if name not in weights:
            raise CheckpointError(f"{path}: lacks the tensor {name}")
        if name not in own:
            raise CheckpointError(f"{path}: holds a tensor that the model has not: {name}")
        if own[name].shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)}, the model has {tuple(own[name].shape)}"
            raise CheckpointError(f"{path}: tensor {name} is {shapes}")
    model.load_state_dict(weights)


def load_parts(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> list[str]:
    """Pour in weights of the parts (`generator`, `posterior`) that the model and the file both have.

    A discriminator that only one of them has stays as it is. Within a part every tensor must fit, but for
    low-rank additions, which stay as they are where the file has none.

    Returns the parts that only one has.
    Raises: CheckpointError: names the first tensor that does not fit, or says that no part is shared.
    """
    from components.finetuning.lora import under_additions

    own = model.state_dict()
    weights = under_additions(weights, own)
    mine, theirs = ({name.partition(".")[0] for name in names} for names in (own, weights))
    if not mine & theirs:
        raise CheckpointError(f"{path}: shares no part with the model, which has {', '.join(sorted(mine))}")
    kept = {name: tensor for name, tensor in own.items() if name.partition(".")[0] not in theirs}
    taken = {name: tensor for name, tensor in weights.items() if name.partition(".")[0] in mine}
    load_state(model, kept | taken, path)
    return sorted(mine ^ theirs)


def export(model: nn.Module, config: dict[str, Any], folder: Path, *, writes: bool = True) -> Path:
    """Write weights as safetensors with their config as JSON: all that `load_model` needs.

    The file is written beside its place and renamed, so that a folder never holds half a file.

    writes: whether this process is the one to write; sharded weights take all of them to put together.
    """
    from safetensors.torch import save_file

    from checkpoints.sharded import whole

    weights = {}
    for name, tensor in model.state_dict().items():
        together = whole(tensor.detach())
        if writes:
            weights[name] = together.cpu().contiguous()
    if not writes:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{WEIGHTS}.new"
    save_file(weights, new)
    (folder / CONFIG).write_text(json.dumps(config, indent=1))
    new.replace(folder / WEIGHTS)
    return folder
