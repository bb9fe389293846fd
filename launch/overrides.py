"""Change a config in place: parts swapped by name, values, deletions."""

from copy import deepcopy
from typing import Any

from checkpoints.build import is_node, locate, parameters
from launch.command import Command, read_value
from launch.presets import Kind, kind_of_component, kinds
from launch.problems import Problem, did_you_mean, names

Config = dict[str, Any]
OPEN = ("callbacks",)  # groups that take new members by name


def overlay(config: Config, changes: Config) -> None:
    """Merge changes into config in place.

    A dotted key reaches into groups; another `_component_` replaces the whole node; a bare name swaps.
    """
    for path, value in changes.items():
        *parents, key = path.split(".")
        group = config
        for parent in parents:
            group = group[parent]
        old = group.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and _same_component(old, value):
            overlay(old, value)
            continue
        if is_node(old) and isinstance(value, str) and "${" not in value:
            value = tied(old, named(kind_of_component(old["_component_"]), value))
        group[key] = deepcopy(value)


def _same_component(old: Config, new: Config) -> bool:
    """Whether changes to a node leave it the component that it is."""
    return new.get("_component_", old.get("_component_")) == old.get("_component_")


def change(config: Config, command: Command) -> list[Problem]:
    """Apply the command line's overrides in place: swaps, outermost first, then values, then deletions."""
    problems, values = [], []
    for key, text in command.changes:
        try:
            value = read_value(text)
        except ValueError as error:
            problems.append(Problem(f"{key}={text}", str(error)))
            continue
        values.append((key, value, is_swap(config, key, value)))
    values.sort(key=lambda item: item[0].count(".") if item[2] else 99)
    for key, value, _ in values:
        problems += set_value(config, key, value)
    for key in command.deletions:
        parents, _, leaf = key.rpartition(".")
        group = find(config, parents) if parents else config
        if isinstance(group, dict) and leaf in group:
            del group[leaf]
        else:
            problems.append(Problem(f"~{key}", f"nothing to delete here{did_you_mean(key, paths(config))}"))
    return problems


def is_swap(config: Config, key: str, value: Any) -> bool:
    """Whether a value names a component for a node: the node is one now, or its group takes components."""
    now = find(config, key)
    return isinstance(value, str) and (kind_at(config, key) is not None or isinstance(now, dict))


def kind_at(config: Config, key: str) -> Any:
    """The kind of component that belongs at a key, or None where plain values belong."""
    now = find(config, key)
    if isinstance(now, str) and now.startswith("${") and now.endswith("}"):
        return kind_at(config, now[2:-1])
    if is_node(now):
        return kind_of_component(now["_component_"])
    parents, _, leaf = key.rpartition(".")
    if parents in OPEN:
        return kinds().get(parents)
    if now is None and not parents:  # a part that stages share and may go without is called as its kind is
        return next((kind for kind in kinds().values() if kind.noun.replace(" ", "_") == leaf), None)
    owner = find(config, parents) if parents else None
    if now is None and is_node(owner):
        from launch.check import kind_of_parameter  # imports the component: only where the config cannot tell

        return kind_of_parameter(owner["_component_"], leaf)
    return None


def named(kind: Kind | None, name: str) -> Config:
    """The node that a name stands for: a preset of the kind, or a component by its dotted path."""
    return deepcopy(kind.nodes[name]) if kind is not None and "." not in name else {"_component_": name}


def tied(old: Any, new: Config) -> Config:
    """A node in another's place keeps the references that tied the old one to the rest of the config.

    `latent_dim: ${model.generator.latent_dim}` still holds for another prior; numbers do not carry over.
    """
    if isinstance(old, dict):
        try:
            takes = parameters(locate(new["_component_"]))
        except ImportError:
            return new  # the check will say so
        references = {key: value for key, value in old.items() if isinstance(value, str) and "${" in value}
        new |= {key: value for key, value in references.items() if key in takes}
    return new


def set_value(config: Config, key: str, value: Any) -> list[Problem]:
    *parents, leaf = key.split(".")
    group: Any = config
    for depth, parent in enumerate(parents):
        below = group.get(parent) if isinstance(group, dict) else None
        if isinstance(below, str) and below.startswith("${") and below.endswith("}"):
            source = below[2:-1]
            there = ".".join([source, *parents[depth + 1 :], leaf])
            return [Problem(key, f"follows {source}; set {there} instead")]
        if not isinstance(below, dict):
            return [Problem(key, f"unknown key{did_you_mean(key, paths(config))}")]
        group = below
    inside = ".".join(parents)
    now = group.get(leaf)
    if isinstance(value, str) and "${" not in value and (kind := kind_at(config, key)) is not None:
        if "." not in value and value not in kind.nodes:
            hint = f"{did_you_mean(value, kind.nodes)}; {names(kind.nodes)}"
            return [Problem(f"{key}={value}", f"no such {kind.noun}{hint}")]
        group[leaf] = tied(now, named(kind, value))
    elif is_node(now) and isinstance(value, str) and "." in value:
        group[leaf] = tied(now, named(None, value))
    elif isinstance(now, dict) and value is not None and not isinstance(value, dict):
        return [Problem(key, f"a group of keys, not a value; it holds: {', '.join(map(str, now))}")]
    elif isinstance(now, dict) and isinstance(value, dict):
        overlay(now, value)
    elif leaf in group or "_component_" in group:  # the check knows whether the component takes it
        group[leaf] = value
    else:
        known = f"; {inside} holds: {', '.join(group)}" if inside else ""
        return [Problem(key, f"unknown key{did_you_mean(key, paths(config)) or known}")]
    return []


def find(config: Config, path: str) -> Any:
    group: Any = config
    for part in path.split("."):
        group = group.get(part) if isinstance(group, dict) else None
    return group


def paths(config: Config, prefix: str = "") -> list[str]:
    """Every key of a config as a dotted path."""
    found = []
    for key, value in config.items():
        if key != "_component_":
            found.append(f"{prefix}{key}")
            found += paths(value, f"{prefix}{key}.") if isinstance(value, dict) else []
    return found
