"""The play-table's ten language tasks: when each is possible, when it is done, and chains of them.

Names and thresholds are CALVIN's (Mees et al. 2022, arXiv 2112.03227, task oracle): a block is pushed once it
has moved 10 cm to the side and still stands on the table, a drawer is opened or closed once it has moved
12 cm, a lamp once it has changed. All are measured from the moment at which the task began.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float

from environments.table_model import BLOCK_HALF, BLOCKS, FINGER_HIGH
from environments.table_state import TableState

PUSHED = 0.10
DRAWN = 0.12
BEHIND = 0.065  # from a block's middle to the finger that is about to push it


@dataclass(frozen=True)
class Task:
    """One thing to do on the table.

    texts, held_out_texts: ways to say it, to learn from and to test with.
    possible: whether it can be done from a state, without moving anything else.
    done: whether it is done, by the state at its beginning and the state now.
    outcome: the state that it will about lead to.
    """

    name: str
    group: Literal["push", "drawer", "led"]
    texts: tuple[str, ...]
    held_out_texts: tuple[str, ...]
    possible: Callable[[TableState], bool]
    done: Callable[[TableState, TableState], bool]
    outcome: Callable[[TableState], TableState]


def _push_possible(state: TableState, *, block: int, side: int) -> bool:
    """The block stays on the table, the finger has room behind it, and no other block is in the way."""
    x, y = state.blocks[block, :2]
    if side * x > 0.19 or side * x < BEHIND + 0.01 - FINGER_HIGH[0]:
        return False
    others = np.delete(state.blocks, block, axis=0)
    ahead, beside = side * (others[:, 0] - x), np.abs(others[:, 1] - y)
    way = (beside < 0.075) & (ahead > 0) & (ahead < PUSHED + 0.02 + 2.5 * BLOCK_HALF)
    room = (beside < 0.06) & (ahead < 0) & (ahead > -BEHIND - 0.055)
    return not bool(np.any(way | room))


def _push_done(begin: TableState, now: TableState, *, block: int, side: int) -> bool:
    moved = now.blocks[block] - begin.blocks[block]
    stands = abs(now.blocks[block, 2] - BLOCK_HALF) < 0.01
    return bool(side * moved[0] > PUSHED and stands)


def _push_outcome(state: TableState, *, block: int, side: int) -> TableState:
    blocks = state.blocks.copy()
    blocks[block, 0] += side * (PUSHED + 0.03)  # it slides on a little
    return replace(state, blocks=blocks)


def _push(block: int, side: Literal[-1, 1]) -> Task:
    colour, way = BLOCKS[block], "left" if side < 0 else "right"
    return Task(
        name=f"push_{colour}_block_{way}",
        group="push",
        texts=(
            f"push the {colour} block to the {way}",
            f"slide the {colour} block to the {way}",
            f"move the {colour} block {way}",
            f"push the {colour} cube {way}",
            f"take the {colour} block and push it {way}",
        ),
        held_out_texts=(
            f"shove the {colour} cube towards the {way} side",
            f"the {colour} block should go further {way}",
        ),
        possible=partial(_push_possible, block=block, side=side),
        done=partial(_push_done, block=block, side=side),
        outcome=partial(_push_outcome, block=block, side=side),
    )


_OPEN_DRAWER = Task(
    name="open_drawer",
    group="drawer",
    texts=(
        "open the drawer",
        "pull the drawer open",
        "slide the drawer out",
        "pull the handle of the drawer",
    ),
    held_out_texts=("draw the drawer towards you", "the drawer should be open"),
    possible=lambda state: state.drawer < 0.05,
    done=lambda begin, now: now.drawer - begin.drawer > DRAWN,
    outcome=lambda state: replace(state, drawer=state.drawer + DRAWN + 0.01),
)
_CLOSE_DRAWER = Task(
    name="close_drawer",
    group="drawer",
    texts=(
        "close the drawer",
        "push the drawer shut",
        "slide the drawer in",
        "push the handle of the drawer",
    ),
    held_out_texts=("shut the drawer again", "the drawer should be closed"),
    possible=lambda state: state.drawer > DRAWN,
    done=lambda begin, now: begin.drawer - now.drawer > DRAWN,
    outcome=lambda state: replace(state, drawer=max(state.drawer - DRAWN - 0.005, 0.0)),
)
_TURN_ON_LED = Task(
    name="turn_on_led",
    group="led",
    texts=(
        "turn on the light",
        "switch the lamp on",
        "press the button for light",
        "light the lamp",
    ),
    held_out_texts=("push the knob so that the lamp glows", "make the lamp shine"),
    possible=lambda state: not state.led,
    done=lambda begin, now: now.led and not begin.led,
    outcome=lambda state: replace(state, led=True),
)
_TURN_OFF_LED = Task(
    name="turn_off_led",
    group="led",
    texts=(
        "turn off the light",
        "switch the lamp off",
        "press the button to end the light",
        "darken the lamp",
    ),
    held_out_texts=("push the knob so that the lamp goes out", "put out the lamp"),
    possible=lambda state: state.led,
    done=lambda begin, now: begin.led and not now.led,
    outcome=lambda state: replace(state, led=False),
)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(_push(block, side) for block in range(len(BLOCKS)) for side in (-1, 1)),
        _OPEN_DRAWER,
        _CLOSE_DRAWER,
        _TURN_ON_LED,
        _TURN_OFF_LED,
    )
}


def draw_start(rng: np.random.Generator, task: Task | None = None) -> TableState:
    """A table at rest on which the task is possible: blocks at least 14 cm apart, the finger above them."""
    while True:
        state = TableState(
            finger=rng.uniform((-0.2, -0.15, 0.12), (0.2, 0.10, 0.17)),
            drawer=rng.uniform(0.01, 0.04) + (0.13 if rng.random() < 0.5 else 0.0),
            button=0.0,
            led=bool(rng.random() < 0.5),
            blocks=_draw_blocks(rng),
        )
        if task is None or task.possible(state):
            return state


def _draw_blocks(rng: np.random.Generator) -> Float[np.ndarray, "3 4"]:
    low, high = (-0.17, -0.11, BLOCK_HALF, -0.3), (0.17, 0.10, BLOCK_HALF, 0.3)
    while True:
        blocks = rng.uniform(low, high, (len(BLOCKS), 4))
        gaps = blocks[:, :2] - np.roll(blocks[:, :2], 1, axis=0)
        if (gaps**2).sum(axis=1).min() >= 0.14**2:
            return blocks


@dataclass(frozen=True)
class Chain:
    """Tasks to do one after another, without a reset between them, and the table that they begin on."""

    start: TableState
    tasks: tuple[str, ...]


def chains(seed: int, length: int = 5) -> Iterator[Chain]:
    """Endless chains in which each task is possible once those before it are done; the same for a seed.

    Source: the long-horizon evaluation of CALVIN, section 5; its sequences are drawn the same way, by what
    tasks need and change.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    while True:
        start = draw_start(rng)
        state, names = start, list[str]()
        while len(names) < length:
            possible = [task for task in TASKS.values() if task.possible(state)]
            task = possible[rng.integers(len(possible))]
            state = task.outcome(state)
            names.append(task.name)
        yield Chain(start=start, tasks=tuple(names))
