"""Run arms, one process a core, each in a session of its own: only we ask it to save and stop."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from launch.claims.arms import TIME, Arm
from launch.presets import ROOT

POLL_SECONDS = 0.2
LOG, LOCK = "log.txt", "lock"


class Stopped(Exception):
    """The user stopped the command; all that was running has saved itself."""


@dataclass
class _Running:
    arm: Arm
    command: list[str]
    process: subprocess.Popen
    began: float


def run_arms(arms: list[Arm], *, cores: int, show: Callable[[str, list[Arm]], None]) -> dict[Path, str]:
    """Run what is left of the arms, `cores` at a time, each after the one that it starts from.

    show: told of every event, with the arms that are running; and with "" now and then.

    Returns why an arm has no result, by folder.
    Raises: Stopped at Ctrl-C or SIGTERM, when every process has saved and ended.
    """
    waiting = [arm for arm in arms if arm.next_command() is not None]
    running: list[_Running] = []
    failed: dict[Path, str] = {}
    with _counted_signals() as signals:
        while waiting or running:
            _start_ready(waiting, running, failed, cores, show)
            time.sleep(POLL_SECONDS)
            if signals:
                _stop(running, signals)
                raise Stopped
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                _end(job)
                after = job.arm.next_command()
                if job.process.returncode != 0 or after == job.command:
                    told = f"ended with code {job.process.returncode}: {last_line(job.arm.folder)}"
                    failed[job.arm.folder] = told
                    show(f"failed    {job.arm.label}: {told} ({job.arm.folder / LOG})", _arms(running))
                elif after is not None:
                    waiting.insert(0, job.arm)
                else:
                    show(f"finished  {job.arm.label}, {job.arm.seconds():.0f} s in all", _arms(running))
            show("", _arms(running))
    return failed


def last_line(folder: Path) -> str:
    """The last line of an arm's log: how far it is, or what went wrong."""
    if not (folder / LOG).is_file():
        return "starting"
    with (folder / LOG).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2_000))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")


def _start_ready(
    waiting: list[Arm], running: list[_Running], failed: dict[Path, str], cores: int, show: Callable
) -> None:
    for arm in waiting.copy():
        if arm.before is not None and arm.before.folder in failed:
            waiting.remove(arm)
            failed[arm.folder] = f"starts from {arm.before.label}, which has no result"
            show(f"skipped   {arm.label}: {failed[arm.folder]}", _arms(running))
        elif len(running) < cores and (arm.before is None or arm.before.trained()):
            waiting.remove(arm)
            command = arm.next_command()
            assert command is not None
            process = _start(arm, command)
            if process is None:
                failed[arm.folder] = "another process is at it: wait until it ends"
                show(f"skipped   {arm.label}: {failed[arm.folder]}", _arms(running))
                continue
            running.append(_Running(arm, command, process, time.monotonic()))
            show(f"{'measuring' if arm.trained() else 'training'}  {arm.label}", _arms(running))


def _start(arm: Arm, command: list[str]) -> subprocess.Popen | None:
    """Start a process that holds the arm's lock to its end, even if we are killed; None when it is taken."""
    arm.folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(arm)
    if lock is None:
        return None
    one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with lock, (arm.folder / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            env=os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(places)},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )


def taken(arm: Arm) -> bool:
    """Whether a process of another command is at this arm."""
    if not arm.folder.is_dir():
        return False
    lock = _lock(arm)
    if lock is not None:
        lock.close()
    return lock is None


def _lock(arm: Arm) -> TextIO | None:
    lock = (arm.folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _end(job: _Running) -> None:
    spent = job.arm.seconds() + time.monotonic() - job.began
    (job.arm.folder / TIME).write_text(json.dumps(round(spent, 1)))


def _stop(running: list[_Running], signals: list[int]) -> None:
    """Ask all to save and stop; asked again, they stop at once."""
    asked = 0
    while any(job.process.poll() is None for job in running):
        if asked < len(signals):
            asked = len(signals)
            for job in running:
                job.process.send_signal(signal.SIGINT)
        time.sleep(POLL_SECONDS)
    for job in running:
        _end(job)


@contextmanager
def _counted_signals() -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and a closed terminal, as they come.

    None raises: Python drops what is raised while it frees an object, and the user would have to ask twice.
    """
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _arms(running: list[_Running]) -> list[Arm]:
    return [job.arm for job in running]
