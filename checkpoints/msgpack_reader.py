"""Objects of msgpack out of memory that is not copied, of any size; made to read files of many gigabytes."""

import struct
from typing import Any, NamedTuple

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}  # how the length is written that follows
EXTENSIONS = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
SHORT_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
LISTS = {0xDC: ">H", 0xDD: ">I"}
MAPPINGS = {0xDE: ">H", 0xDF: ">I"}


class Extension(NamedTuple):
    """An object of an application's own type."""

    code: int
    data: memoryview


class Reader:
    """Reads one object after another; bytes come as views.

    `value` raises EOFError where the memory ends within an object, and ValueError where it holds none.
    Source: the msgpack specification.
    """

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def left(self) -> bool:
        return self.at < len(self.data)

    def length(self) -> int:
        """Of the list that comes next; its values follow. Raises ValueError where no list does."""
        code = self._number(">B")
        if 0x90 <= code < 0xA0:
            return code - 0x90
        if code not in LISTS:
            raise ValueError(f"{code:#x} begins no list")
        return self._number(LISTS[code])

    def value(self) -> Any:
        code = self._number(">B")
        if code < 0x80:
            return code
        if code < 0x90:
            return self._mapping(code - 0x80)
        if code < 0xA0:
            return self._list(code - 0x90)
        if code < 0xC0:
            return self._text(code - 0xA0)
        if code >= 0xE0:
            return code - 0x100
        if code in CONSTANTS:
            return CONSTANTS[code]
        if code in NUMBERS:
            return self._number(NUMBERS[code])
        if code in BYTES:
            return self._view(self._number(BYTES[code]))
        if code in EXTENSIONS:
            return self._extension(self._number(EXTENSIONS[code]))
        if code in SHORT_EXTENSIONS:
            return self._extension(SHORT_EXTENSIONS[code])
        if code in TEXTS:
            return self._text(self._number(TEXTS[code]))
        if code in LISTS:
            return self._list(self._number(LISTS[code]))
        if code in MAPPINGS:
            return self._mapping(self._number(MAPPINGS[code]))
        raise ValueError(f"{code:#x} begins no object")

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._view(struct.calcsize(layout)))[0]

    def _view(self, length: int) -> memoryview:
        if self.at + length > len(self.data):
            raise EOFError
        self.at += length
        return self.data[self.at - length : self.at]

    def _text(self, length: int) -> str:
        return str(self._view(length), "utf-8")

    def _extension(self, length: int) -> Extension:
        return Extension(self._number(">b"), self._view(length))

    def _list(self, length: int) -> list[Any]:
        return [self.value() for _ in range(length)]

    def _mapping(self, length: int) -> dict[Any, Any]:
        return {self.value(): self.value() for _ in range(length)}
