"""Groups of processes that tests begin, and wait for."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(arguments: Sequence[object], processes: int, *, cwd: Path = ROOT) -> list[subprocess.Popen]:
    """So many processes of Python with these arguments; each knows its place as torchrun would tell it."""
    shared = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "NODE_RANK": 0, "OMP_NUM_THREADS": 1}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "PYTHONPATH": ROOT}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=os.environ | _as_text(shared | {"RANK": rank, "LOCAL_RANK": rank}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]


def finish(begun: Sequence[subprocess.Popen], *, seconds: float) -> None:
    """All of them must end well, one after the other, each in that time; none is left behind."""
    try:
        for process in begun:
            said, _ = process.communicate(timeout=seconds)
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in begun:
            process.kill()


def _as_text(values: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}
