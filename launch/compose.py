"""Compose a recipe's config: its file, the size, the variants, the stage, then the command line."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from checkpoints.build import is_node, locate
from launch.command import Command
from launch.overrides import change, overlay
from launch.presets import ROOT, yaml_load
from launch.problems import Problem, did_you_mean, names

Config = dict[str, Any]
SIZES = ("tiny", "paper")


def recipe_folders() -> dict[str, Path]:
    """Every recipe by name."""
    return {file.parent.name: file.parent for file in sorted(ROOT.glob("recipes/*/config.yaml"))}


def compose(command: Command) -> tuple[dict[str, Config], list[Problem]]:
    """The config of every stage to run, interpolations unresolved, and all that is wrong with the command."""
    problems: list[Problem] = []
    recipe = command.words.get("recipe", "")
    folders = recipe_folders()
    if recipe not in folders:
        return {}, [
            Problem(f"recipe={recipe}", f"no such recipe{did_you_mean(recipe, folders)}; {names(folders)}")
        ]
    config = yaml_load(folders[recipe] / "config.yaml")
    variants, stages = config.pop("variants", {}), config.pop("stages", {"train": {}})
    size = command.words.get("size", "tiny")
    if size not in SIZES:
        problems.append(Problem(f"size={size}", f"no such size; {names(SIZES)}"))
    elif size == "paper":
        paper = yaml_load(folders[recipe] / "paper.yaml")
        variants |= paper.pop("variants", {})
        stages |= paper.pop("stages", {})
        overlay(config, paper)
    for variant in filter(None, command.words.get("variant", "").split("+")):
        if variant not in variants:
            hint = f"{did_you_mean(variant, variants)}; {names(variants)}"
            problems.append(Problem(f"variant={variant}", f"no such variant{hint}"))
        changes = variants.get(variant, {}).copy()
        stages |= changes.pop("stages", {})
        overlay(config, changes)
    left_out = {f"stages.{name}" for name in stages} & {
        key for key, text in command.changes if text == "null"
    }
    kept = [(key, text) for key, text in command.changes if key not in left_out]
    command = replace(command, changes=kept)
    stages = {
        name: changes
        for name, changes in stages.items()
        if changes is not None and f"stages.{name}" not in left_out
    }
    stage = command.words.get("stage")
    if stage is not None and stage not in stages:
        problems.append(
            Problem(f"stage={stage}", f"no such stage{did_you_mean(stage, stages)}; {names(stages)}")
        )
    composed = {}
    for name, changes in stages.items():
        composed[name] = {"recipe": recipe, "size": size, "stage": name} | deepcopy(config)
        overlay(composed[name], changes)
    problems += change_stages(composed, command)
    if stage in composed:
        composed = {stage: composed[stage]}
    elif stage is None:
        composed = {name: config for name, config in composed.items() if _is_of_use(name, composed)}
        problems += _unwritten(composed)
    if not composed:
        problems.append(Problem(", ".join(sorted(left_out)), "nothing is left to do"))
    return composed, list(dict.fromkeys(problems))


def change_stages(stages: dict[str, Config], command: Command) -> list[Problem]:
    """Apply an override to every stage that has its place; `stages.NAME.key=value` to that stage alone."""
    problems: list[Problem] = []
    keys = [key for key, _ in command.changes] + command.deletions
    for key in keys:
        addressed = key.split(".")
        if addressed[0] == "stages" and (len(addressed) < 3 or addressed[1] not in stages):
            hint = did_you_mean(addressed[1], stages) if len(addressed) > 1 else ""
            how = (
                f"write stages.NAME.key{hint}; {names(stages)}; a new run leaves one out by stages.NAME=null"
            )
            problems.append(Problem(key, how))
    if problems:
        return problems
    here = {name: _addressed(keys, name, stages) for name in stages}  # before anything is changed
    for name, config in stages.items():
        changes = [(here[name][key], text) for key, text in command.changes if key in here[name]]
        deletions = [here[name][key] for key in command.deletions if key in here[name]]
        problems += change(config, Command(command.words, changes, deletions))
    return problems


def _addressed(keys: list[str], stage: str, stages: dict[str, Config]) -> dict[str, str]:
    """The keys that are for a stage, with what they are called in it."""
    mine = f"stages.{stage}."
    return {
        key: key.removeprefix(mine)
        for key in keys
        if key.startswith(mine) or (not key.startswith("stages.") and _belongs(key, stages[stage], stages))
    }


def _belongs(key: str, config: Config, stages: dict[str, Config]) -> bool:
    """Whether no other stage knows more of the way to this key."""
    return all(_depth(config, key) >= _depth(other, key) for other in stages.values())


def _depth(config: Any, key: str) -> int:
    """How many parts of a dotted key lead somewhere in a config."""
    for depth, part in enumerate(key.split(".")):
        if not isinstance(config, dict) or part not in config:
            return depth
        config = config[part]
    return depth + 1


def trains(config: Config) -> bool:
    """Whether a stage learns anything, rather than only make something of clips."""
    node = config.get("model")
    try:
        return not is_node(node) or locate(node["_component_"]).trains
    except (ImportError, AttributeError):
        return True  # the check will say so


def _is_of_use(name: str, stages: dict[str, Config]) -> bool:
    """Whether a stage trains, or a later one reads a cache; the last one is asked for."""
    later = list(stages)[list(stages).index(name) + 1 :]
    return not later or any(stages[other].get("cache") for other in later) or trains(stages[name])


def _unwritten(stages: dict[str, Config]) -> list[Problem]:
    """Caches in the run folder that no stage writes."""
    written = {place for config in stages.values() for place in _places(config | {"cache": None})}
    problems = []
    for name, config in stages.items():
        for place in sorted(_places(config.get("cache")) - written):
            told = f"reads {place}, which no stage of this run writes; stages.{name}.cache.root=FOLDER reads"
            problems.append(
                Problem(f"stages.{name}.cache", f"{told} another's, stages.{name}.cache=null trains without")
            )
    return problems


def _places(config: Any) -> set[str]:
    """Places in the run folder that a config names: `${run:latents}`."""
    return set(re.findall(r"\$\{run:[^}]+\}", str(config)))
