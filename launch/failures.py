"""What ended a run, or keeps it from starting, in one line, where it was no programming error."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import DistError

from callbacks.failures import RunStopped
from checkpoints.own import CheckpointError
from datamodules import SourceError
from launch.problems import CommandError, Problem

_PEER_GONE = ("Connection closed by peer", "Connection reset by peer")  # gloo has no type for it


@contextmanager
def problem_at(path: str) -> Iterator[None]:
    """Turn a component's own complaint into a problem at its key."""
    try:
        yield
    except (ValueError, SourceError, CheckpointError) as error:
        raise CommandError([Problem(path, str(error).splitlines()[0])]) from error


def in_one_line(error: BaseException, run: Path) -> str | None:
    """The line for the user, from the first cause that is theirs to mend; None for all other errors.

    A full disk often shows twice: the checkpoint's own line, and then TensorBoard, which cannot write that
    the run has failed. The checkpoint's line is the one that counts.
    """
    chain = list(_causes(error))
    if isinstance(error, CommandError):  # nothing has started; the command says it in its own way
        return None
    go_on = f"; then go on:  python train.py resume={run}"
    for cause in chain:
        if isinstance(cause, RunStopped):
            return str(cause) + go_on * cause.resumable
    for cause in chain:
        if isinstance(cause, SourceError):
            return " ".join(str(cause).split()) + go_on
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" at {cause.filename}" if cause.filename else f" for {run}"
            return f"{cause.strerror}{where}; saved checkpoints are whole; make room{go_on}"
        if isinstance(cause, DistError) or any(words in str(cause) for words in _PEER_GONE):
            return f"another process of this run has ended; what it said is above{go_on}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, latest first."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
