"""Which components a checkpoint may name: its config is read from a file that anyone may have written."""

import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from checkpoints.build import is_node, locate

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch.nn.", "torch.optim.")


def strange_component(config: Any) -> str | None:
    """The first component of a config that is neither of this project, nor of your own folder, nor a layer.

    A `_component_` is imported and called; `subprocess.Popen` would be, too. So it must be a class, from a
    package that lies in this project or in the current folder, or from torch.nn or torch.optim.
    """
    if isinstance(config, dict):
        if is_node(config) and not _known(str(config["_component_"])):
            return str(config["_component_"])
        parts = list(config.values())
    else:
        parts = config if isinstance(config, list) else []
    return next((found for part in parts if (found := strange_component(part)) is not None), None)


def _known(path: str) -> bool:
    if not path.startswith(LIBRARIES) and not _ours(path.partition(".")[0]):
        return False
    try:
        component = locate(path)
    except ImportError:
        return True  # building it says what is missing
    module = f"{getattr(component, '__module__', '')}."  # where it comes from, not where it was imported to
    return inspect.isclass(component) and (module.startswith(LIBRARIES) or _ours(module.partition(".")[0]))


def _ours(package: str) -> bool:
    """Whether a top-level package lies in this project or the current folder, and is not an installed one."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec is not None else []
    files = [Path(place).resolve() for place in places if place not in (None, "built-in", "frozen")]
    if any({"site-packages", "dist-packages"} & set(file.parts) for file in files):
        return False
    return any(file.is_relative_to(folder) for file in files for folder in (ROOT, Path.cwd().resolve()))
