"""Several processes of one run: when one of them dies, the others end."""

import os
import threading
import time
from datetime import timedelta

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

PATIENCE = timedelta(minutes=10)  # what one process may do alone, such as writing weights, while others wait
_LOOK_SECONDS = 2.0


def end_with_parent() -> None:
    """End this process soon after the one that started it is gone, also while it waits for others.

    The other way round, Lightning's launcher looks every five seconds whether a process that it started has
    failed, and then ends all of them.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def limit_waiting(trainer: Trainer) -> None:
    """Make the processes of a DDP run wait PATIENCE for each other, not Lightning's half an hour."""
    if isinstance(trainer.strategy, DDPStrategy):
        trainer.strategy._timeout = PATIENCE  # by name (`ddp`) Lightning takes no timeout
