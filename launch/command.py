"""Read a command line: `recipe=savp size=paper model.transformation=flow ~callbacks.ema seed=0,1,2`."""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import OmegaConf

from launch.problems import CommandError, Problem, did_you_mean

WORDS = {  # words of the command itself; everything else is a key of the recipe's config
    "recipe": "which recipe to train",
    "size": "tiny (default; any machine, a few minutes) or paper (the published numbers)",
    "variant": "overlays of the recipe, applied in order: variant=kth+vae",
    "stage": "run one stage only",
    "weights": "start from the weights of another run: its folder, a checkpoint or an exported folder",
    "resume": "a run folder or a checkpoint in it: go on as if it had never stopped",
    "run_dir": "where to write; default runs/RECIPE/TIME",
    "help": "help=true prints the config with the meaning of every key",
    "dry": "dry=true builds without memory and prints parameters and cost",
}


@dataclass(frozen=True)
class Command:
    """A command line taken apart.

    words: the words of the command that were given.
    changes: (key, text) of every override, in order.
    deletions: keys to delete.
    """

    words: dict[str, str] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    deletions: list[str] = field(default_factory=list)

    def flag(self, word: str) -> bool:
        return self.words.get(word, "false").lower() in ("true", "1", "yes")

    def tokens(self) -> list[str]:
        """The command line again."""
        return [
            *(f"{word}={text}" for word, text in self.words.items()),
            *(f"{key}={text}" for key, text in self.changes),
            *(f"~{key}" for key in self.deletions),
        ]


def parse(tokens: list[str]) -> Command:
    """Take a command line apart.

    Raises:
        CommandError: a token is neither key=value nor ~key.
    """
    words: dict[str, str] = {}
    changes, deletions, problems = [], [], []
    for token in tokens:
        key, equals, text = token.partition("=")
        if token.startswith("~") and not equals:
            deletions.append(token[1:])
        elif not equals or not key:
            hint = {"--help": "; did you mean help=true?", "-h": "; did you mean help=true?"}.get(token, "")
            if not hint and token.startswith("-"):
                hint = did_you_mean(token.lstrip("-"), WORDS)
            problems.append(Problem(token, f"expected key=value, or ~key to delete{hint}"))
        elif key in WORDS:
            if key in ("help", "dry") and text.lower() not in ("true", "false", "1", "0", "yes", "no"):
                problems.append(Problem(token, "expected true or false"))
            words[key] = text
        else:
            changes.append((key, text))
    if problems:
        raise CommandError(problems)
    return Command(words, changes, deletions)


def read_value(text: str) -> Any:
    """A value as OmegaConf reads it: numbers, true/false, null, [lists], {maps}, text.

    Raises:
        ValueError: the text is not a value, such as an unclosed bracket.
    """
    try:
        config = OmegaConf.from_dotlist([f"value={text}"])
        return OmegaConf.to_container(config, resolve=False)["value"]  # type: ignore[index, call-overload]
    except Exception as error:
        raise ValueError(f"not a value: {text!r}") from error


def alternatives(text: str) -> list[str]:
    """The values of a sweep: commas outside brackets and quotes separate them."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in ")}]":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part] or [text]


def expand(command: Command) -> list[tuple[dict[str, str], Command]]:
    """Every combination of a sweep with its own command; one entry when nothing is swept."""
    swept = [(key, alternatives(text)) for key, text in command.changes if len(alternatives(text)) > 1]
    words = [(k, alternatives(t)) for k, t in command.words.items() if k in ("size", "variant", "recipe")]
    swept += [(key, values) for key, values in words if len(values) > 1]
    runs = []
    for values in itertools.product(*(values for _, values in swept)):
        chosen = dict(zip((key for key, _ in swept), values, strict=True))
        runs.append(
            (
                chosen,
                replace(
                    command,
                    words={key: chosen.get(key, text) for key, text in command.words.items()},
                    changes=[(key, chosen.get(key, text)) for key, text in command.changes],
                ),
            )
        )
    return runs
