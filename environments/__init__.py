"""Environments: worlds to act in, behind gymnasium's interface.

| id | what it is | needs |
|---|---|---|
| video-world-models/PlayTable-v0 | ten language tasks on a table with drawer, lamp and blocks | mujoco |
| video-world-models/PushT-v0 | a T to push onto its outline, in two dimensions; no expert | gym-pusht |
| video-world-models/MetaWorld-v0 | 18 tasks of a robot's arm, in scenes of their own | metaworld |

An environment is a `gymnasium.Env` whose observation is a dictionary of cameras, uint8 (h, w, 3), and
`state`, float32 (s,), with names in `state_names`. Each step's info tells `task`, `text`, which says the
task in words, and `success`, which the simulator's state decides, never pixels. The same seed and the same
actions give the same frames; `state()` and `restore()` go back to any moment exactly, which lets a
planner use the simulator itself as its model.

gymnasium knows the ids once the package is installed; `register()` tells it without that.
"""

_ENTRY_POINTS = {
    "video-world-models/PlayTable-v0": "environments.play_table:PlayTable",
    "video-world-models/PushT-v0": "environments.push_t:PushT",
    "video-world-models/MetaWorld-v0": "environments.meta_world:MetaWorld",
}


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
    for name, entry_point in _ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=entry_point)
