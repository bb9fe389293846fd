"""Environments: worlds to act in, behind gymnasium's interface.

| id | what it is | needs |
|---|---|---|
| video-world-models/PlayTable-v0 | ten language tasks on a table with drawer, lamp and blocks | mujoco |

An environment is a `gymnasium.Env` whose observation is a dictionary of cameras, uint8 (h, w, 3), and
`state`, float32 (s,), with names in `state_names`. Each step's info tells `task`, `text`, which says the
task in words, and `success`, which the simulator's state decides, never pixels. The same seed and the same
actions give the same frames; `state()` and `restore()` go back to any moment exactly, which lets a
planner use the simulator itself as its model.

gymnasium knows the ids once the package is installed; `register()` tells it without that.
"""


class UnavailableError(Exception):
    """One line for the user: what this machine lacks for an environment, and what to install."""


def register() -> None:
    """Tell gymnasium the ids of the table above; telling it again changes nothing.

    Raises UnavailableError where gymnasium is missing.
    """
    try:
        import gymnasium
    except ImportError:
        raise UnavailableError("gymnasium is missing; pip install -e '.[control]'") from None
    name = "video-world-models/PlayTable-v0"
    if name not in gymnasium.registry:
        gymnasium.register(id=name, entry_point="environments.play_table:PlayTable")
