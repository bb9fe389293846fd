"""The import script: public weights become a folder that train, sample and evaluate read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from launch.options import run_command
from launch.problems import CommandError, Problem

Config = dict[str, Any]


@dataclass
class ImportOptions:
    """What to import."""

    family: Literal["llama", "lwm_jax", "videoworld"] = field(
        metadata={
            "help": "llama: a folder of transformers' LlamaForCausalLM; lwm_jax: LWM's file params; "
            "videoworld: its file of a Go model"
        }
    )
    weights: Path = field(metadata={"help": "that folder or file"})
    out: Path = field(metadata={"help": "folder to write to"})
    vqgan: Path | None = field(
        default=None,
        metadata={
            "help": "LWM's file vqgan, a folder of diffusers' VQModel, or a run that trained a tokenizer; of "
            "videoworld its file of a tokenizer, null = the one in weights"
        },
    )
    dynamics: Path | None = field(
        default=None, metadata={"help": "of videoworld: its file of latent dynamics"}
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "folder or hub id of the text tokenizer; null = beside the weights"}
    )


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code."""
    changes = [token for token in tokens if "." in token.partition("=")[0]]
    others = [token for token in tokens if token not in changes]
    return run_command(
        ImportOptions, "import_weights.py", others, lambda options: write_import(options, changes)
    )


class Imported(NamedTuple):
    """A model with its config, what in it is not from the weights, and what to do with it next."""

    model: Any
    config: Config
    fresh: list[str]
    commands: dict[str, str]


def write_import(options: ImportOptions, changes: list[str]) -> None:
    """Import, and say what was made. changes: keys of the config, `model.decoder.num_layers=2`."""
    from checkpoints.own import export
    from launch.import_lwm import import_lwm
    from launch.import_videoworld import import_videoworld

    families = {"llama": import_lwm, "lwm_jax": import_lwm, "videoworld": import_videoworld}
    made = families[options.family](options, changes)
    made.model.remember(made.config)
    export(made.model, made.config, options.out)
    count = sum(parameter.numel() for parameter in made.model.parameters())
    print(f"wrote {options.out}: {count:,} parameters")
    if made.fresh:
        print(f"fresh, to be trained: {', '.join(made.fresh)}")
    for purpose, command in made.commands.items():
        print(f"{purpose + ':':<10} {command}")


def change_checked(raw: Config, options: ImportOptions, changes: list[str]) -> None:
    """Change a config as the command line says.

    Raises CommandError for changes that it has no place for, and for weights that are not there.
    """
    from launch.command import parse
    from launch.compose import change

    problems = change(raw, parse(changes))
    if not options.weights.exists():
        problems.append(Problem("weights", f"{options.weights}: no such file or folder"))
    if problems:
        raise CommandError(problems)


def published_config(recipe: str) -> Config:
    """A recipe at the paper's size, of no stage."""
    from launch.compose import overlay, recipe_folders
    from launch.presets import yaml_load

    folder = recipe_folders()[recipe]
    config, paper = yaml_load(folder / "config.yaml"), yaml_load(folder / "paper.yaml")
    for part in (config, paper):
        part.pop("stages", None)
        part.pop("variants", None)
    overlay(config, paper)
    return {"recipe": recipe, "size": "paper", "stage": "imported"} | config


@contextmanager
def told_at(key: str) -> Iterator[None]:
    """What is wrong with a file, as a problem at the key that names it."""
    from checkpoints.own import CheckpointError

    try:
        yield
    except (CheckpointError, ValueError) as error:
        raise CommandError([Problem(key, str(error).splitlines()[0])]) from error
