"""Suites: ways to judge what a model predicts; one file a suite.

| name | asks | needs |
|---|---|---|
| video | how near to the truth, how varied, how real | any clips |
| physics | whether laws hold: velocities, energy, momentum, permanence | bouncing_balls, or pairs of videos |
| long | whether a long rollout keeps its quality, and what a frame costs | any clips |
| recall | whether a colour that flashed long ago is shown again | flash_recall |
| control | how many tasks of an environment a policy finishes, alone or with the model | mujoco |
| language | whether a text makes its clip, a clip is described, a question answered | moving_shapes |
| go | whether the board drawn next shows a legal move, a good one; how strong a player it makes | go |

A suite never makes predictions itself: it is fed with them, by a checkpoint's rollouts, by a baseline's or by
a folder of videos, and so judges all alike. Those of the last rows ask the model itself (Asking), and compare
it to guessing. Every number comes from torchmetrics.Metric states.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Real, UInt8
from torch import Tensor

from components.clip import Clip


@dataclass
class Timing:
    """What a rollout cost. seconds, memory: of each frame as it was made; bytes, peak so far."""

    seconds: Float[Tensor, " t"]
    memory: Float[Tensor, " t"]


@dataclass
class Report:
    """What a suite found.

    values: one number a metric, in the order to show them.
    curves: a number a predicted frame, by metric.
    notes: lines for the reader: what was left out and why.
    pictures: to look at, uint8 or floats in [0, 1], by name. files: texts to write, by name with its suffix.
    videos: to look at, uint8, by name.
    """

    values: dict[str, float]
    curves: dict[str, Float[Tensor, " t"]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Real[Tensor, "3 h w"]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    videos: dict[str, UInt8[Tensor, "t 3 h w"]] = field(default_factory=dict)


@runtime_checkable
class Suite(Protocol):
    """Judge predictions of one predictor on one group of clips.

    samples: futures it wants of each context.
    horizon: frames it wants, in multiples of the frames a training clip has after its context.
    groups: groups of clips it wants to be fed with, by name: changes to the data source's arguments.
    """

    samples: int
    horizon: float
    groups: dict[str, dict[str, object]]

    def update(
        self,
        predicted: Float[Tensor, "b n t 3 h w"],
        truth: Float[Tensor, "b t 3 h w"],
        clip: Clip,
        timing: Timing | None = None,
    ) -> None:
        """Take in n futures of each clip: floats in [0, 1], frames after the context only.

        clip: the whole clip, with its states and actions; video holds context and truth.
        """

    def compute(self) -> Report: ...

    def reset(self) -> None: ...


class Asking(Protocol):
    """Ask a model more than rollouts.

    May have `notes()`, `pictures()` and `files()` of the last call, as a Report has them.
    """

    def __call__(self, model: Any) -> dict[str, float] | Report:
        """Raises: ValueError, in one line, for a model or a data source that it cannot judge."""
        ...

    def chance(self, config: dict[str, Any]) -> dict[str, float]:
        """What guessing would score; config: of the run."""
        ...
