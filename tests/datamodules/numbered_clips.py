"""Tiny clips that are their own number, from a table and from a stream; workers import this file alone."""

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from components.clip import ClipSpec
from datamodules import SourceError, Split


def clip(number: int) -> dict[str, Any]:
    return {
        "video": torch.full((2, 3, 4, 4), number % 256, dtype=torch.uint8),
        "camera": {"poses": torch.full((2, 4, 4), float(number))},
        "text": f"number {number}",
        "fps": torch.tensor(10.0),
        "id": str(number),
    }


class Table(Dataset):
    """Clips 0 to size - 1; those in `broken` cannot be read."""

    def __init__(self, size: int, broken: tuple[int, ...] = ()) -> None:
        self.size, self.broken = size, broken

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in self.broken:
            raise SourceError(f"clip {index}: truncated file; remove it")
        return clip(index)


class Hanging(Dataset):
    """Clip 5 never comes: its decoder hangs, or takes the worker with it."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __len__(self) -> int:
        return 8

    def name_of(self, index: int) -> str:
        return f"video_{index}.mp4"

    def __getitem__(self, index: int) -> dict:
        if index == 5 and self.way == "hangs":
            time.sleep(1000)
        if index == 5:
            os._exit(1)
        return clip(index)


class Stream(IterableDataset):
    """Pass p gives 1000 p to 1000 p + size - 1."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.size, self.error = size, error
        self.current_pass, self.place = -1, size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self.place >= self.size:
            self.current_pass, self.place = self.current_pass + 1, 0
        while self.place < self.size:
            self.place += 1
            yield clip(1000 * self.current_pass + self.place - 1)
        if self.error is not None:
            raise self.error

    def state_dict(self) -> dict[str, int]:
        return {"pass": self.current_pass, "place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.current_pass, self.place = state["pass"], state["place"]


class TwoPartError(Exception):
    """An exception that pickle cannot bring back."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class Tables:
    """A ClipSource of tables: 10 training clips, 100 in val, 7 in test."""

    def spec(self) -> ClipSpec:
        return ClipSpec(num_frames=2, height=4, width=4)

    def split(self, name: Split) -> Dataset:
        return Table({"train": 10, "val": 100, "test": 7}[name])


def ids(batches: Iterable[dict[str, Any]], count: int | None = None) -> list[list[int]]:
    """The numbers in each of the first `count` batches."""
    return [[int(name) for name in batch["id"]] for batch in itertools.islice(batches, count)]


def flat(batches: Iterable[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]
