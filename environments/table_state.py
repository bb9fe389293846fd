"""What is where on the play-table: all that tasks and experts know of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from environments.table_model import BLOCKS

STATE_NAMES = (
    "finger_x",
    "finger_y",
    "finger_z",
    "drawer",
    "button",
    "led",
    *(f"{block}_{part}" for block in BLOCKS for part in ("x", "y", "z", "yaw")),
)


@dataclass(frozen=True)
class TableState:
    """One moment of the table, metres and radians.

    finger: (3,), its tip.  drawer: how far it is out.  button: how far it is up, at most 0.
    led: whether the lamp is lit.  blocks: (3, 4), x, y, z, yaw of each, in the order of BLOCKS.
    """

    finger: Float[np.ndarray, "3"]
    drawer: float
    button: float
    led: bool
    blocks: Float[np.ndarray, "3 4"]

    def vector(self) -> Float32[np.ndarray, " s"]:
        """The same as numbers, in the order of STATE_NAMES."""
        middle = (self.drawer, self.button, float(self.led))
        return np.concatenate([self.finger, middle, self.blocks.reshape(-1)]).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: Float[np.ndarray, " s"]) -> "TableState":
        """Read what `vector` wrote, or what a data set kept of it."""
        numbers = np.asarray(vector, dtype=np.float64)
        return cls(
            finger=numbers[:3],
            drawer=float(numbers[3]),
            button=float(numbers[4]),
            led=bool(numbers[5] > 0.5),
            blocks=numbers[6:].reshape(len(BLOCKS), 4),
        )
