"""Files that public weights come in, configurations, indices and safetensors; a broken one told in a line."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from checkpoints.own import CheckpointError


def read_config(file: Path, of: str | None = None) -> dict[str, Any]:
    """The configuration in a file. of: whose folder was expected, should it be missing.

    Raises CheckpointError where it is missing or broken.
    """
    config = _json(file, f"; expected a folder of a {of}" if of is not None else "")
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: not the configuration of a model")
    return config


def indexed(index: Path) -> list[Path]:
    """The files of weights that lie in parts. Raises CheckpointError where the index cannot be read."""
    try:
        names = set(_json(index)["weight_map"].values())
        return [index.parent / Path(name).name for name in sorted(names)]
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index}: not an index of weights") from error


def opened(file: Path) -> Any:
    """A safetensors file, its tensors to be read one by one. Raises CheckpointError where it cannot be."""
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    try:
        return safe_open(file, "pt")
    except Exception as error:  # of safetensors' own kind, not public
        raise CheckpointError(f"{file}: not a readable safetensors file, perhaps cut short") from error


def _json(file: Path, hint: str = "") -> Any:
    try:
        return json.loads(file.read_text())
    except OSError as error:
        raise CheckpointError(f"{file}: no such file{hint}") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: not valid JSON") from error
