"""Reads .npy files of pickled objects without running anything that they ask for."""

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from datamodules import SourceError

_NUMBERS_AND_TEXT = re.compile(r"[?biufcSU]\d*")


class _Refused(Exception):
    """What is in the file and must not be, in a few words."""


class _Told:
    """What a pickle says of an array, a number or a type; numpy is asked once all of it has been looked at.

    Numpy's own functions trust a pickle: a type with wrong flags would make addresses of what a file holds.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Told):
    """numpy's _reconstruct(ndarray, (0,), b"b"), then (version, shape, type, fortran, content)."""


class _Scalar(_Told):
    """numpy's scalar(type, content)."""


class _Type(_Told):
    """numpy's dtype("f8", align, copy), then (version, byte order, ...)."""


class _Plain(_Told):
    """numpy's ndarray, as an argument."""


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Plain,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise _Refused(f"asks for {ascii(f'{module}.{name}')[1:-1][:80]}")
        return known


def load_plain(path: Path) -> Any:
    """What numpy.save wrote of dicts, lists, tuples, text, numbers and arrays of these; 0-d arrays unpacked.

    Raises SourceError, in one line, where a file is no such file or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            _, _, dtype = _head(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
            found = _whole(_Reader(file).load())
    except _Refused as refused:
        told = f"{refused}; it may hold only dicts, lists, text, numbers and arrays: do not trust it"
        raise SourceError(f"{path} is not read: it {told}") from None
    except Exception as error:  # a broken pickle raises anything
        told = " ".join(str(error).split())[:80] or type(error).__name__
        raise SourceError(f"{path} does not open ({told}); fetch it again") from error
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found


def _head(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _whole(value: Any) -> Any:
    """The same with arrays and numbers in place of what was told of them."""
    kind = type(value)
    if value is None or kind in (str, bool, int, float):
        return value
    if kind is dict:
        return {_whole(key): _whole(item) for key, item in value.items()}
    if kind in (list, tuple):
        return kind(map(_whole, value))
    if kind is _Array:
        return _array(value)
    if kind is _Type:
        return _dtype(value)
    if kind is _Scalar:
        dtype, content = value.arguments
        return _numbers(content, _dtype(dtype), (), "C")[()]
    raise _Refused(f"holds a {kind.__name__.lstrip('_')}")


def _array(told: _Array) -> np.ndarray:
    if told.arguments[0] is not _Plain:
        raise _Refused("holds an array of an unknown kind")
    _, shape, of, fortran, content = told.state  # type: ignore[misc]
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("holds an array without a shape")
    dtype, order = _dtype(of), "F" if fortran is True else "C"
    if dtype != np.dtype(object):
        return _numbers(content, dtype, shape, order)
    if type(content) is not list or len(content) != math.prod(shape):
        raise _Refused("holds an array of objects without its objects")
    flat = np.empty(len(content), dtype=object)
    for place, item in enumerate(content):
        flat[place] = _whole(item)
    return flat.reshape(shape, order=order)  # type: ignore[call-overload]


def _dtype(told: Any) -> np.dtype:
    if type(told) is not _Type or type(told.arguments[0]) is not str:
        raise _Refused("holds an array of no type")
    name, order = told.arguments[0], "|"
    if told.state is not None:
        order = told.state[1]
        if any(part is not None for part in told.state[2:5]) or order not in ("<", ">", "|", "="):
            raise _Refused("holds an array of records")
    if name in ("O", "O8", "O4"):
        return np.dtype(object)
    if not _NUMBERS_AND_TEXT.fullmatch(name):
        raise _Refused(f"holds an array of type {ascii(name)[:40]}")
    return np.dtype(name if order == "|" else order + name)


def _numbers(content: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    """(shape), from bytes."""
    if dtype.hasobject or type(content) is not bytes or len(content) != math.prod(shape) * dtype.itemsize:
        raise _Refused("holds an array without its numbers")
    if not content:
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order=order).copy()
