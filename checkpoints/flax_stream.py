"""Streams of named arrays as JAX programs write them with msgpack and flax, read without either.

A file is one msgpack object after another, each a pair (key, bytes): key is a tuple of names, bytes a msgpack
object of its own. That is an array, msgpack's extension type 1 around (shape, dtype name, bytes in C order);
or, from 2^30 bytes on, an array in pieces: a mapping with __msgpack_chunked_array__, shape {"0": ...} and
chunks {"0": piece, ...}, flat. The file is mapped into memory, and only what is asked for is copied.
Source: the msgpack specification; flax.serialization 0.8; the streaming checkpoints of LWM's code.
"""

import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from checkpoints.msgpack_reader import Reader
from checkpoints.own import CheckpointError

CHUNKED = "__msgpack_chunked_array__"
ARRAY = 1  # flax's extension type of an array
DTYPES = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32", "float64")}


class StreamedArray(NamedTuple):
    """An array that still lies in the file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: list[memoryview]  # one behind another, C order

    def whole(self) -> Tensor:
        return self._between(0, prod(self.shape)).view(self.shape)

    def entry(self, index: int) -> Tensor:
        """One entry along the first axis; nothing else is read."""
        count = prod(self.shape[1:])
        return self._between(index * count, (index + 1) * count).view(self.shape[1:])

    def _between(self, first: int, last: int) -> Tensor:
        first, last, copy = first * self.dtype.itemsize, last * self.dtype.itemsize, bytearray()
        for piece in self.pieces:
            copy += piece[max(first, 0) : max(last, 0)]
            first, last = first - len(piece), last - len(piece)
        return torch.frombuffer(copy, dtype=self.dtype)


class Record(NamedTuple):
    """One object of a stream, its array not yet looked at."""

    key: tuple[str, ...]
    blob: memoryview
    path: Path

    @property
    def name(self) -> str:
        return "/".join(self.key)

    def array(self) -> StreamedArray:
        """Raises CheckpointError where the bytes are not an array of floats of the size that they tell."""
        try:
            value = Reader(self.blob).value()
            parts = [value]
            if isinstance(value, dict) and CHUNKED in value:
                parts = [value["chunks"][str(i)] for i in range(len(value["chunks"]))]
            opened = [self._open(part) for part in parts]
            shape, dtypes = opened[0].shape, {part.dtype for part in opened}
            if isinstance(value, dict):
                shape = tuple(value["shape"][str(i)] for i in range(len(value["shape"])))
            array = StreamedArray(shape, dtypes.pop(), [part.pieces[0] for part in opened])
            told = prod(shape) * array.dtype.itemsize
            if min(shape, default=1) < 1:
                raise ValueError(f"shape {shape}")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError) as error:
            raise CheckpointError(f"{self.path}: {self.name} is not an array of floats") from error
        found = sum(len(piece) for piece in array.pieces)
        if told != found or dtypes:
            raise CheckpointError(f"{self.path}: {self.name} holds {found} bytes for a shape of {shape}")
        return array

    def _open(self, part: Any) -> StreamedArray:
        if part.code != ARRAY:
            raise ValueError(f"extension type {part.code}")
        shape, dtype, data = Reader(part.data).value()
        return StreamedArray(tuple(int(n) for n in shape), DTYPES[dtype], [memoryview(data)])


def read_stream(path: Path) -> Iterator[Record]:
    """The records of a file, in its order.

    Raises CheckpointError for a missing file, another format and a file that was cut short.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: is empty")
    with path.open("rb") as file:
        reader = Reader(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    place = "its first array"
    while reader.left():
        try:
            if reader.length() != 2 or not isinstance(key := reader.value(), list) or not key:
                raise ValueError("not a list of names and something")
            place = "/".join(key)
            blob = memoryview(reader.value())
        except EOFError as error:
            raise CheckpointError(f"{path}: cut short in {place}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a stream of (names, bytes), at {place}") from error
        yield Record(tuple(key), blob, path)
        place = f"what follows {place}"
