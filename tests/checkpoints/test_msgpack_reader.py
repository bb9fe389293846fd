"""Our reader against the msgpack library's writer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.msgpack_reader import Reader

msgpack = pytest.importorskip("msgpack")

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
)
EXTENSIONS = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300))
OBJECTS = st.recursive(
    SCALARS | st.binary(max_size=300) | EXTENSIONS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(OBJECTS, max_size=3))
def test_any_object_of_msgpack_is_read(values):
    reader = Reader(memoryview(b"".join(msgpack.packb(value) for value in values)))
    assert [reader.value() for _ in values] == values
    assert not reader.left()


@pytest.mark.parametrize("size", [15, 16, 31, 32, 255, 256, 65535, 65536])
def test_lengths_are_read_at_every_width(size):
    for value in (
        "a" * size,
        b"a" * size,
        [1] * size,
        {i: i for i in range(size)},
        msgpack.ExtType(5, b"a" * size),
    ):
        assert Reader(memoryview(msgpack.packb(value))).value() == value
