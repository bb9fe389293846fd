"""Environments stepped side by side, each in a process of its own."""

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

PATIENCE = 120.0  # seconds for an answer; a process that takes longer is taken for dead


class Crashed(Exception):
    """The environment's process has ended or hangs; a new one stands in its place."""


class Failed(Exception):
    """What an environment raised, in one line."""


class Workers:
    """`count` environments; calls go out with `ask` and their results are fetched with `answer`.

    make: builds one; it must be picklable, as a class or a partial of one is. An environment whose process
    dies or hangs is started anew, and `crashes` counts it: its episode is lost, the others go on.
    """

    def __init__(self, make: Callable[[], Any], count: int) -> None:
        self.make, self.crashes = make, 0
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[Any] = [None] * count
        self._pipes: list[Any] = [None] * count
        for place in range(count):
            self._start(place)

    def __len__(self) -> int:
        return len(self._processes)

    def ask(self, place: int, method: str, *inputs: Any, **named: Any) -> None:
        """Call a method of one environment; its result waits for `answer`."""
        with suppress(OSError):  # where its process has died, the answer tells
            self._pipes[place].send((method, inputs, named))

    def answer(self, place: int) -> Any:
        """The result of the last call.

        Raises:
            Crashed: there is none; the environment has begun anew.
            Failed: the method raised.
        """
        try:
            if not self._pipes[place].poll(PATIENCE):
                raise EOFError
            result, fault = self._pipes[place].recv()
        except (EOFError, OSError):
            self.crashes += 1
            self._stop(place)
            self._start(place)
            raise Crashed from None
        if fault is not None:
            raise Failed(fault)
        return result

    def close(self) -> None:
        for place in range(len(self)):
            self._stop(place)

    def _start(self, place: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self.make), daemon=True)
        process.start()
        theirs.close()
        self._processes[place], self._pipes[place] = process, ours

    def _stop(self, place: int) -> None:
        self._pipes[place].close()
        self._processes[place].terminate()
        self._processes[place].join(5)


def _serve(pipe: Connection, make: Callable[[], Any]) -> None:
    """Build an environment and answer calls until the pipe is closed."""
    environment, fault = None, None
    try:
        environment = make()
    except Exception as error:
        fault = _line(error)
    while True:
        try:
            method, inputs, named = pipe.recv()
        except EOFError:
            break
        try:
            result = None if environment is None else getattr(environment, method)(*inputs, **named)
            pipe.send((result, fault))
        except BrokenPipeError:  # who asked is gone
            break
        except Exception as error:
            pipe.send((None, _line(error)))
    if environment is not None:
        environment.close()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
