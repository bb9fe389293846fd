"""Load a trained model with parts changed that only its use looks at: `model.sampler.num_steps=50`."""

from pathlib import Path
from typing import Any

from launch.command import parse
from launch.overrides import change
from launch.problems import CommandError, Problem


def of_the_model(tokens: list[str]) -> tuple[list[str], list[str]]:
    """Tokens that change the model, and the others."""
    own = [token for token in tokens if token.startswith("model.")]
    return own, [token for token in tokens if token not in own]


def load_changed(kind: Any, path: Path, tokens: list[str]) -> Any:
    """A trained model, a Stage of this kind, with the changes that the tokens tell.

    Raises:
        CommandError: the checkpoint cannot be had, or a change does not fit it.
    """
    from checkpoints.own import CheckpointError
    from launch.run import prepare

    def changed(config: dict[str, Any]) -> dict[str, Any]:
        if problems := change(config, parse(tokens)):
            raise CommandError(problems)
        return prepare(config)

    try:
        return kind.load(path, changed) if tokens else kind.load(path)
    except CheckpointError as error:
        raise CommandError([Problem("ckpt", str(error))]) from error
