"""What a bare name on the command line stands for: `model.transformation=flow`."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RUN_FOLDER = "VIDEO_WORLD_MODELS_RUN"  # environment variable: where the run writes, for all its processes


@dataclass(frozen=True)
class Kind:
    """One axis of swapping: a folder with a presets.yaml.

    name: the folder's dotted path, `components.transformations`.
    nodes: bare name -> node, as the file has it.
    file: where the nodes and the comments of their keys stand.
    """

    name: str
    file: Path
    nodes: dict[str, dict[str, Any]] = field(hash=False)

    @property
    def noun(self) -> str:
        """`transformation` for components.transformations: how a message calls one of them."""
        last = self.name.rpartition(".")[2]
        irregular = {
            "datamodules": "data source",
            "posteriors": "posterior",
            "adversarial": "adversarial loss",
            "vocabularies": "vocabulary",
            "latent_dynamics": "latent dynamics",
            "memories": "memory",
        }
        return irregular.get(last, last.removesuffix("s")).replace("_", " ")


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its dotted folder."""
    found = {}
    for file in sorted([*ROOT.glob("components/*/presets.yaml"), *ROOT.glob("*/presets.yaml")]):
        name = ".".join(file.parent.relative_to(ROOT).parts)
        found[name] = Kind(name=name, file=file, nodes=yaml_load(file))
    return found


def kind_of_component(path: str) -> Kind | None:
    """The kind that a component belongs to: the one whose presets name it, else the folder it lies in."""
    for kind in kinds().values():
        if any(node["_component_"] == path for node in kind.nodes.values()):
            return kind
    parts = path.split(".")
    return next((kinds()[".".join(parts[:n])] for n in (2, 1) if ".".join(parts[:n]) in kinds()), None)


def yaml_load(file: Path) -> dict[str, Any]:
    """A YAML file read with OmegaConf's number rules: 1e-4 is a float."""
    from omegaconf import OmegaConf

    try:
        loaded: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    return loaded if isinstance(loaded, dict) else {}  # an empty file is an empty mapping
