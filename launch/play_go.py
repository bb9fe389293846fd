"""The play_go script: a trained model as an engine that any Go program can run, over GTP (version 2)."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from launch.go_engine import Conversation, GoEngine
from launch.options import run_command
from launch.problems import CommandError, Problem

HELP = """you are talking to a Go engine; type, for example
  play b C3      put a black stone
  genmove w      let the model answer
  showboard      see the board
  final_score    count it
  quit           (list_commands names all others)"""


@dataclass
class PlayOptions:
    """Whom to play."""

    ckpt: Path = field(metadata={"help": "a run folder, a checkpoint or an export of a model trained on Go"})
    temperature: float = field(default=0.0, metadata={"help": "of the model's choices; 0 = the likeliest"})
    seed: int = field(default=0, metadata={"help": "of the model's choices"})


def main(tokens: list[str]) -> int:
    """Run the command; returns the exit code."""
    if tokens and tokens != ["help=true"]:
        return run_command(PlayOptions, "play_go.py", tokens, serve)
    code = run_command(PlayOptions, "play_go.py", tokens, serve)
    print(
        "\nA Go program runs it as an engine; on a terminal, type GTP: genmove b, play w C3, showboard, quit"
    )
    return code


def serve(options: PlayOptions) -> None:
    """Answer GTP on stdin and stdout until `quit` or the end of the input.

    Raises:
        CommandError: there is no such model, or it does not play Go.
    """
    with gtp_alone_on_stdout() as out:
        player, size = load(options)
        if sys.stdin.isatty():
            print(f"{HELP}\nThe board is {size}x{size}.", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            Conversation(GoEngine(player, size=size, seed=options.seed)).hold(sys.stdin, out)


@contextlib.contextmanager
def gtp_alone_on_stdout() -> Iterator[TextIO]:
    """Whatever else is printed meanwhile, by libraries too, goes to stderr."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(own, "w", closefd=False) as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)


def load(options: PlayOptions) -> tuple[Any, int]:
    """The model as a player, and the size of its board."""
    from checkpoints.build import build
    from checkpoints.own import CheckpointError
    from datamodules import SourceError
    from evaluation.go_players import ModelPlayer, answering
    from recipes.stage import Stage

    if options.temperature < 0:
        raise CommandError([Problem("temperature", f"is {options.temperature:g}; give 0 or more")])
    try:
        model: Any = Stage.load(options.ckpt)
        source = build(model.hparams["data"])
        answer = answering(model, source, temperature=options.temperature, batch_size=1)
    except (CheckpointError, SourceError, ValueError) as error:
        raise CommandError([Problem("ckpt", str(error))]) from error
    return ModelPlayer(name="model", answer=answer), source.size
