"""Trained parts kept for every recipe: found again by a hash of all that made them."""

import hashlib
import inspect
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checkpoints.build import is_node, locate
from checkpoints.own import CONFIG, WEIGHTS

Config = dict[str, Any]
MAKES = ("model", "data", "loader", "seed")  # the groups of a config that its weights depend on
TRAINS = ("max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val", "devices", "num_nodes")


def content_hash(resolved: Config) -> str:
    """Of the resolved config of a stage, as far as it shapes the weights, and of its components' source.

    Two recipes that train the same tokenizer on the same clips find the same one.
    """
    made = {group: resolved.get(group) for group in MAKES}
    made["trainer"] = {key: resolved["trainer"].get(key) for key in TRAINS}
    sources = sorted({inspect.getsource(sys.modules[locate(path).__module__]) for path in _components(made)})
    text = json.dumps([made, sources], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_kept(resolved: Config) -> Path | None:
    """The folder of the stage's weights from an earlier run, or None."""
    folder = Path(resolved["kept_in"]) / content_hash(resolved)
    return folder if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() else None


def keep(resolved: Config, exported: Path) -> Path:
    """Keep a finished stage's exported weights under their hash; the folder appears whole or not at all."""
    folder = Path(resolved["kept_in"]) / content_hash(resolved)
    if not folder.exists():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(exported, new)
        new.replace(folder)
    return folder


def _components(value: Any) -> Iterator[str]:
    if is_node(value):
        yield value["_component_"]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _components(part)
