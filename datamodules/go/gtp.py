"""Go engines as subprocesses that speak GTP, the Go Text Protocol (version 2)."""

import os
import selectors
import shlex
import subprocess
import tempfile
import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from datamodules import SourceError

COLUMNS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
GRACE = 2.0  # seconds that an engine has to end by itself once its input is closed
LONGEST = 1 << 20  # bytes of an answer; an engine that writes more has lost its way


class EngineError(SourceError):
    """An engine that is missing, dead or silent, or that refuses a command; one line."""


class Engine:
    """A Go engine; it ends when closed, when this object goes, and when Python does.

    An engine that died, kept silent for too long or wrote what is no GTP is ended, and whatever it is asked
    then raises EngineError; one that refuses a command lives on.

    command: the program and its arguments.  timeout: seconds for an answer.
    Raises: EngineError where the program cannot be started.
    """

    def __init__(self, command: list[str], timeout: float = 60.0) -> None:
        self.command, self.timeout = command, timeout
        self._heard, self._number = b"", 0
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the engine)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EngineError(f"{shlex.join(command)}: cannot be started ({reason})") from error
        self._out = selectors.DefaultSelector()
        self._out.register(_pipe(self._process.stdout), selectors.EVENT_READ)
        self._end = weakref.finalize(self, _end, self._process, self._out, self._complaints)

    def ask(self, line: str, fenced: bool = False) -> str:
        """The answer to a command, without its = and number.

        fenced: for commands whose answer an engine does not close with the empty line that GTP demands;
        another command is sent behind, and the answer ends where that one's begins.

        Raises: EngineError, one line, for anything but an answer.
        """
        if not self._end.alive:
            raise EngineError(f"{self.name}: has ended; start it again to ask {line!r}")
        if "\n" in line or not line.strip():
            raise EngineError(f"{self.name}: {line!r} is not one GTP command")
        self._number += 1
        wanted, fence = self._number, self._number + 1 if fenced else None
        sent = f"{wanted} {line}\n"
        if fence:
            self._number = fence
            sent += f"{fence} protocol_version\n"
        deadline = time.monotonic() + self.timeout
        try:
            pipe = _pipe(self._process.stdin)
            pipe.write(sent.encode())
            pipe.flush()
        except OSError:
            raise self._lost(f"died before {line!r}") from None
        answer = self._answer(wanted, fence, line, deadline)
        if not answer.startswith("?"):
            return answer[1:].removeprefix(str(wanted)).strip()
        raise EngineError(f"{self.name}: refuses {line!r}: {_one_line(answer[1:].removeprefix(str(wanted)))}")

    @property
    def name(self) -> str:
        """Of the program, for messages."""
        return os.path.basename(self.command[0])

    def close(self) -> None:
        """End the engine; once is enough."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, wanted: int, fence: int | None, line: str, deadline: float) -> str:
        """All lines of an answer, which ends with an empty line or where the fence's answer begins."""
        lines: list[str] = []
        behind = False  # the fence's answer has begun, whose empty line is still to come
        length = 0
        while True:
            said = self._line(line, deadline)
            length += len(said)
            if length > LONGEST:
                raise self._lost(f"answers {line!r} without end")
            if said[:1] in ("=", "?") and fence and said[1:].startswith(str(fence)):
                behind = True
            elif behind and not said:
                return "\n".join(lines)
            elif said and not behind:
                if not lines and not (said[0] in "=?" and said[1:].startswith(str(wanted))):
                    raise self._lost(f"answers {line!r} with {_one_line(said)!r}, which is not GTP")
                lines.append(said)
            elif lines and not fence:
                return "\n".join(lines)

    def _line(self, asked: str, deadline: float) -> str:
        """The next line that the engine writes."""
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            if left <= 0 or not self._out.select(left):
                raise self._lost(f"no answer to {asked!r} in {self.timeout:g} s")
            news = os.read(_pipe(self._process.stdout).fileno(), 1 << 16)
            if not news:
                raise self._lost(f"died of {asked!r}")
            self._heard += news
            if len(self._heard) > LONGEST:
                raise self._lost(f"answers {asked!r} without end")
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(errors="replace").rstrip()

    def _lost(self, what: str) -> EngineError:
        """The error for an engine that is of no use any more; ends it."""
        complaint = ""
        try:
            self._process.wait(0.2)
            self._complaints.seek(max(0, self._complaints.seek(0, os.SEEK_END) - 4096))
            complaint = self._complaints.read().decode(errors="replace").strip().split("\n")[-1]
        except subprocess.TimeoutExpired:
            self._process.kill()  # what it wrote while it lived is no reason
        self.close()
        return EngineError(
            f"{self.name}: {what}" + (f"; it says: {_one_line(complaint)}" if complaint else "")
        )


def vertex(point: int, size: int) -> str:
    """A point as GTP writes it: A1 is bottom left, I is left out; "pass"."""
    row, column = divmod(point, size)
    return "pass" if point == size**2 else f"{COLUMNS[column]}{size - row}"


def point_at(vertex: str, size: int) -> int:
    """The point that GTP calls so. Raises: ValueError, one line, for what is none on this board."""
    if vertex.upper() == "PASS":
        return size**2
    column, row = COLUMNS.find(vertex[:1].upper()), vertex[1:]
    if not 0 <= column < size or not (row.isascii() and row.isdigit() and 1 <= int(row) <= size):
        raise ValueError(f"{_one_line(vertex)!r} is no point of a {size}x{size} board")
    return (size - int(row)) * size + column


def _end(process: subprocess.Popen, out: selectors.BaseSelector, complaints: IO[bytes]) -> None:
    out.close()
    with suppress(OSError):  # what was still to be sent has no reader any more
        _pipe(process.stdin).close()  # engines end when their input does
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _pipe(process.stdout).close()
    complaints.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."
