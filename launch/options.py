"""Options of the smaller commands: a dataclass whose fields are the keys."""

import dataclasses
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from launch.check import describe, fits
from launch.command import parse, read_value
from launch.problems import CommandError, Problem, did_you_mean, names

Options = TypeVar("Options")


def read_options(kind: type[Options], tokens: list[str]) -> Options:
    """Fill a dataclass from key=value tokens; each field's metadata["help"] says what it means.

    Raises:
        CommandError: unknown keys, wrong types and missing values, all at once.
    """
    command = parse(tokens)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    problems = [Problem(f"~{key}", "nothing to delete here") for key in command.deletions]
    for key, text in [*command.words.items(), *command.changes]:
        if key not in fields:
            problems.append(Problem(key, f"unknown key{did_you_mean(key, fields) or '; ' + names(fields)}"))
            continue
        try:
            value = read_value(text) if hints[key] not in (str, Path) else text
        except ValueError as error:
            problems.append(Problem(key, str(error)))
            continue
        if not fits(value, hints[key]):
            problems.append(Problem(key, f"expected {describe(hints[key])}, got {value!r}"))
        values[key] = Path(value) if Path in (hints[key], *typing.get_args(hints[key])) and value else value
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING:
            problems.append(Problem(name, f"needs a value: {field.metadata['help']}"))
    if problems:
        raise CommandError(problems)
    return kind(**values)


def run_command(
    kind: type[Options], script: str, tokens: list[str], command: Callable[[Options], None]
) -> int:
    """Read the options and run a command; returns its exit code: 0 done, 2 the command line was wrong."""
    if not tokens or tokens == ["help=true"]:
        print(usage(kind, script))
        return 0
    try:
        command(read_options(kind, tokens))
    except CommandError as error:
        print(error.report(script), file=sys.stderr)
        return 2
    return 0


def usage(kind: type, script: str) -> str:
    """The options of a command with defaults and meanings."""
    lines = [f"python {script} key=value ..."]
    for field in dataclasses.fields(kind):
        default = "required" if field.default is dataclasses.MISSING else f"default {field.default}"
        lines.append(f"  {field.name:<12} {field.metadata['help']} ({default})")
    return "\n".join(lines)
