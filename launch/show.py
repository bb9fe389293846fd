"""Print what there is: the list of recipes, and a config with the meaning of every key."""

import re
from pathlib import Path
from typing import Any

from launch.presets import ROOT

KEY = re.compile(r"^(\s*)([\w.]+|'[^']+'):(.*?)(?:\s#\s*(.*))?$")


def list_recipes() -> str:
    """One line a recipe: its name and the first comment line of its config."""
    lines = []
    for file in sorted(ROOT.glob("recipes/*/config.yaml")):
        with file.open() as text:
            idea = text.readline().strip().lstrip("# ")
        lines.append(f"  {file.parent.name:<18} {idea}")
    return "\n".join(["recipes:", *lines])


def comments(file: Path) -> dict[str, str]:
    """The comment of every key of a YAML file, by dotted path."""
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in file.read_text().splitlines():
        match = KEY.match(line)
        if not match or line.lstrip().startswith("#"):
            continue
        indent, key, _, comment = len(match[1]), match[2].strip("'"), match[3], match[4]
        stack = [*(level for level in stack if level[0] < indent), (indent, key)]
        if comment:
            found[".".join(part for _, part in stack)] = comment
    return found


def describe_config(raw: dict[str, Any], resolved: dict[str, Any], meanings: dict[str, str]) -> str:
    """A config as YAML, one line a key, each with its meaning; a value that follows another key says so."""
    lines: list[tuple[str, str]] = []

    def walk(raw: dict[str, Any], resolved: dict[str, Any], prefix: str, indent: str) -> None:
        for key, value in raw.items():
            path = f"{prefix}{key}"
            meaning = meanings.get(path, "")
            if isinstance(value, dict) and value:
                lines.append((f"{indent}{key}:", meaning))
                walk(value, resolved.get(key, {}), f"{path}.", indent + "  ")
                continue
            if isinstance(value, str) and "${" in value:
                now = resolved.get(key)
                shown = "" if isinstance(now, dict) else f"{_text(now)}  "
                meaning = f"= {value}" + (f"; {meaning}" if meaning else "")
                lines.append((f"{indent}{key}: {shown}".rstrip(), meaning))
            else:
                lines.append((f"{indent}{key}: {_text(value)}", meaning))

    walk(raw, resolved, "", "")
    width = min(58, max(len(left) for left, _ in lines))
    return "\n".join(f"{left:<{width}}  # {right}".rstrip() if right else left for left, right in lines)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
