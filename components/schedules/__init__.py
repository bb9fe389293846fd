"""Schedules: one number as a function of the training step.

| name | goes | used for |
|---|---|---|
| constant | nowhere | ablations |
| linear | from one value to another between two steps | KL weight, learning rate |
| inverse_sigmoid | 1 to 0, then exactly 0 for good | scheduled sampling |
| sigmoid | nearly 0 to a value | KL weight, the other shape |
| warmup_cosine | 0 to 1, then down a cosine | learning rate of transformers |

They hold no state: a resumed run asks for its step and goes on.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Schedule(Protocol):
    """The value at a step, counted from 0."""

    def __call__(self, step: int) -> float: ...
