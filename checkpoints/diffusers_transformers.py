"""Video transformers in diffusers' format for our backbones, and ours as diffusers loads them.

A folder has config.json and weights as save_pretrained writes them, in one .safetensors file or in several
with an index; a pipeline's folder has it as `transformer`. Weights have the same names here and there.
diffusers itself is not needed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file
from torch import Tensor, nn

from checkpoints.diffusers_configs import beyond, compare, settings
from checkpoints.own import CONFIG, PUBLIC, CheckpointError
from checkpoints.public_files import indexed, opened, read_config
from components.backbones.context_patches import ContextPatches
from components.backbones.wan import Wan
from components.finetuning.lora import Lora, plain

INDEX = PUBLIC + ".index.json"
LORA, IN_FULL = "pytorch_lora_weights.safetensors", "trained_in_full.safetensors"
OPTIONAL = ("clean_x_embedder.", "image_projection.")  # parts that a base may lack


class Filled(NamedTuple):
    """What a folder gave: tensors taken, and our layers that it has nothing for, which begin anew."""

    taken: int
    fresh: list[str]


def fill(*, folder: Path, backbone: nn.Module) -> Filled:
    """Put the weights of a folder into a backbone of the same sizes, prepared for fine-tuning or not.

    A base without patch layers for a context, or for some kernels, gives them averages of its own patch
    layer; one without image input leaves that as it is. Everything else must be there and fit.

    Raises:
        CheckpointError: names what differs in the two configurations, or the first tensor without a place.
    """
    compare(read_config(folder / CONFIG), settings(backbone), folder / CONFIG)
    places = {plain(name): tensor for name, tensor in backbone.state_dict().items() if ".lora_" not in name}
    files = _index(folder)
    for name, file in files.items():
        if name not in places:
            option = {"clean_x_embedder": "context_kernels", "image_projection": "image_dim"}
            part = name.partition(".")[0]
            hint = f"; set its {option[part]}" if part in option else ""
            raise CheckpointError(f"{file}: {name} has no place in the backbone{hint}")
    lacking = [name for name in places if name not in files]
    for name in lacking:
        if not name.startswith(OPTIONAL):
            raise CheckpointError(f"{folder}: lacks the tensor {name}")
    for first in (True, False):  # the base's patch layer, what follows from it, and then what is better known
        for name, tensor in _tensors({name: file for name, file in files.items() if _is_base(name) == first}):
            if tensor.shape != places[name].shape:
                shapes = f"{tuple(tensor.shape)}, where the backbone has {tuple(places[name].shape)}"
                raise CheckpointError(f"{files[name]}: {name} is {shapes}")
            places[name].copy_(tensor)
        if first and isinstance(backbone.clean_x_embedder, ContextPatches):
            layer = "patch_embedding" if isinstance(backbone, Wan) else "x_embedder.proj"
            base: Any = backbone.get_submodule(layer)
            backbone.clean_x_embedder.init_from(base)
    return Filled(len(files), sorted({name.rpartition(".")[0] for name in lacking}))


def _is_base(name: str) -> bool:
    return name.startswith(("patch_embedding.", "x_embedder."))


def save(*, backbone: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Write a folder that diffusers' from_pretrained loads.

    weights: of the backbone, as `Finetuning.merged` gives them.
    Raises CheckpointError where no class of diffusers computes what the backbone does.
    """
    for name, value, known in beyond(backbone):
        raise CheckpointError(f"{name} is {value}; diffusers' classes know {known} only")
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{PUBLIC}.new"
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(whole, new, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(settings(backbone), indent=2) + "\n")
    new.replace(folder / PUBLIC)


def save_additions(*, finetuning: Lora, backbone: nn.Module, folder: Path) -> dict[Path, int]:
    """Write low-rank additions alone, as diffusers' load_lora_weights and load_lora_adapter read them.

    Layers that trained in full have no place in such a file; they get one of their own beside it, for the
    transformer's load_state_dict(strict=False). Returns the files, with how many tensors each has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {f"transformer.{name}": tensor for name, tensor in finetuning.additions(backbone).items()}
    trained = [name for name, weight in backbone.named_parameters() if weight.requires_grad]
    in_full = {plain(name): backbone.get_parameter(name) for name in trained if ".lora_" not in name}
    files = {}
    for file, tensors in ((LORA, named), (IN_FULL, in_full)):
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        if whole:
            save_file(whole, folder / file, metadata={"format": "pt"})
            files[folder / file] = len(whole)
    return files


def _index(folder: Path) -> dict[str, Path]:
    """The file of each tensor."""
    whole = folder / PUBLIC
    files = [whole] if whole.is_file() else indexed(folder / INDEX)
    return {name: file for file in files for name in opened(file).keys()}  # noqa: SIM118


def _tensors(index: dict[str, Path]) -> Iterator[tuple[str, Tensor]]:
    """Tensors one at a time in memory, file by file."""
    for file in dict.fromkeys(index.values()):
        file_open = opened(file)
        for name in (name for name, holder in index.items() if holder == file):
            yield name, file_open.get_tensor(name)
