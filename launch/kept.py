"""Trained parts kept for every recipe: found again by a hash of all that made them."""

import ast
import hashlib
import inspect
import json
import os
import shutil
import sys
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from checkpoints.build import is_node, locate
from checkpoints.own import CONFIG, WEIGHTS
from launch.presets import ROOT

Config = dict[str, Any]
MAKES = ("model", "data", "loader", "seed")  # the groups of a config that its weights depend on
TRAINS = ("max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val", "devices", "num_nodes")


def content_hash(resolved: Config, begun: Sequence[Path] = ()) -> str:
    """Of the resolved config of a stage, as far as it shapes the weights, and of the code that it runs.

    The code is the source of its components and of all of this project that they import. Two recipes that
    train the same tokenizer on the same clips find the same one.
    begun: folders of the weights that the stage begins with; the parts that it takes count by their content,
    as a cache does.
    """
    made = {group: resolved.get(group) for group in MAKES}
    made["trainer"] = {key: resolved["trainer"].get(key) for key in TRAINS}
    made["averages"] = [node for node in resolved["callbacks"].values() if _averages(node)]
    taken = [_hash_of_parts(folder / WEIGHTS, resolved["model"]) for folder in begun]
    if taken := taken + [hashlib.sha256(path.read_bytes()).hexdigest() for path in _index(resolved)]:
        made["begun"] = taken
    sources = _sources({locate(path).__module__ for path in _components(made)})
    text = json.dumps([made, sources], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_kept(resolved: Config, begun: Sequence[Path] = ()) -> Path | None:
    """The folder of the stage's weights from an earlier run, or None."""
    folder = Path(resolved["kept_in"]) / content_hash(resolved, begun)
    return folder if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() else None


def keep(resolved: Config, exported: Path, begun: Sequence[Path] = ()) -> Path:
    """Keep a finished stage's exported weights under their hash; the folder appears whole or not at all."""
    folder = Path(resolved["kept_in"]) / content_hash(resolved, begun)
    if find_kept(resolved, begun) is None:
        new = folder.with_suffix(f".new{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(exported, new)
        if find_kept(resolved, begun) is None:
            shutil.rmtree(folder, ignore_errors=True)  # it lacks a file
        try:
            new.replace(folder)
        except OSError:  # another run was first
            shutil.rmtree(new)
    return folder


def adopt(kept: Path, stage: Path) -> None:
    """Make kept weights those of a run's stage, which ends it; files are shared where they can be."""
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        shutil.copytree(kept, stage / "model", copy_function=_link, dirs_exist_ok=True)
        record = {"steps": 0, "seconds": 0.0, "metrics": {}, "taken_from": str(kept)}
        (stage / "result.json").write_text(json.dumps(record, indent=1))


def _link(source: str, target: str) -> str:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


def _hash_of_parts(weights: Path, names: Container[str]) -> str:
    """Of the tensors of these parts, their names and bytes."""
    import torch
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(weights, framework="pt") as file:
        for name in sorted(file.keys()):
            if name.partition(".")[0] in names:
                digest.update(name.encode())
                digest.update(file.get_tensor(name).flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _index(resolved: Config) -> list[Path]:
    """What tells the content of the cache that a stage reads."""
    cache = resolved.get("cache")
    return [Path(cache["root"]).expanduser() / "manifest.jsonl"] if cache is not None else []


def _averages(callback: Config | None) -> bool:
    """Whether it leaves averaged weights in the model; other callbacks watch."""
    from lightning.pytorch.callbacks import WeightAveraging

    from callbacks.averaged_weights import AveragedWeights

    made = locate(callback["_component_"]) if callback is not None else None
    return inspect.isclass(made) and issubclass(made, WeightAveraging | AveragedWeights)


def _components(value: Any) -> Iterator[str]:
    if is_node(value):
        yield value["_component_"]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _components(part)


def _sources(modules: set[str]) -> dict[str, str]:
    """Source of these modules and, within this project, of all that they import, by name."""
    found = {name: inspect.getsource(sys.modules[name]) for name in modules}
    waiting = list(found)
    while waiting:
        for name in _imports(found[waiting.pop()]):
            place = ROOT.joinpath(*name.split("."))
            files = [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
            if files and name not in found:
                found[name] = files[0].read_text()
                waiting.append(name)
    return found


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
