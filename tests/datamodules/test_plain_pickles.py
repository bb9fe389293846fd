"""Pickled tables come back as they were; what asks for more is refused, and nothing of it runs."""

import collections
import os
import pickle

import numpy as np
import pytest

from datamodules import SourceError
from datamodules.plain_pickles import load_plain


class Command:
    """Unpickled, it runs a command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Pickled:
    """Unpickled, it is whatever this gives."""

    def __init__(self, *made):
        self.made = made

    def __reduce__(self):
        return self.made


def save(path, value):
    with path.open("wb") as file:
        np.save(file, np.array(value, dtype=object))
    return path


def by_hand(path, content: bytes):
    head = {"descr": "|O", "fortran_order": False, "shape": ()}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        file.write(content)
    return path


def test_tables_come_back_as_they_were(tmp_path):
    table = {
        "language": {"ann": ["push it", "schieb es weg \u00fc"], "emb": np.full((2, 1, 4), 0.1, "f4")},
        "info": {"indx": [(np.int64(3), 7), (9, 12)], "episodes": [], "share": 0.5, "last": None, "is": True},
        "arrays": [
            np.arange(6).reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.arange(3, dtype=">i2"),
            np.array(["left", "right"]),
            np.array([b"a", b"bc"]),
            np.array([True, False]),
            np.zeros((0, 2), np.float32),
            np.float32(1.5),
        ],
        "nested": np.array([{"a": 1}, [2, "b"]], dtype=object),
    }
    found = load_plain(save(tmp_path / "table.npy", table))
    assert found.keys() == table.keys()
    assert found["language"]["ann"] == table["language"]["ann"]
    assert np.array_equal(found["language"]["emb"], table["language"]["emb"])
    assert found["info"] == table["info"]
    for mine, given in zip(found["arrays"], table["arrays"], strict=True):
        assert type(mine) is type(given)
        assert mine.dtype == given.dtype
        assert np.array_equal(mine, given)
    assert found["nested"].tolist() == table["nested"].tolist()


@pytest.mark.parametrize("protocol", [3, 4])
def test_older_protocols_and_names_are_read(tmp_path, protocol):
    content = pickle.dumps(np.array({"emb": np.ones(3)}, dtype=object), protocol=protocol)
    if protocol == 3:
        content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert load_plain(by_hand(tmp_path / "old.npy", content))["emb"].tolist() == [1, 1, 1]


def test_plain_arrays_are_read(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([[3, 9]]))
    assert load_plain(tmp_path / "ids.npy").tolist() == [[3, 9]]


def test_a_command_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    tables = [Command(mark), {"ann": [Command(mark)]}, {Command(mark): 1}, [(1, {"a": Command(mark)})]]
    for place, table in enumerate(tables):
        path = save(tmp_path / f"{place}.npy", table)
        with pytest.raises(SourceError, match=r"asks for posix.system; it may hold only") as caught:
            load_plain(path)
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    with (tmp_path / "0.npy").open("rb") as file:  # it would have been
        np.load(file, allow_pickle=True)
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks for"),
        (b"cnumpy\nload\n(S'x.npy'\ntR.", "asks for"),
        (b"cnumpy._core.multiarray\nfromfile\n.", "asks for"),
        (b"c__main__\na\\nb\n.", "asks for"),
        (b"cnumpy\ndtype\n}b.", "does not open"),  # a state for the type of types
        (b"(S'1'\nibuiltins\nexec\n.", "asks for"),
        (b"\x80\x04\x8f.", "holds a set"),
        (b"\x80\x04C\x01a.", "holds a bytes"),
        (b"Pid\n.", "does not open"),
        (b"\x80\x04]\x94h\x00a.", "does not open"),  # a list that holds itself
        (b"\x80\x04", "does not open"),
        (b"no pickle", "does not open"),
    ],
)
def test_whatever_else_is_refused_in_one_line(tmp_path, content, said):
    with pytest.raises(SourceError, match=said) as caught:
        load_plain(by_hand(tmp_path / "odd.npy", content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "made",
    [
        collections.OrderedDict(a=1),
        np.datetime64("2020-01-01"),
        np.zeros(2, dtype=[("a", "O")]),
        np.zeros(2, dtype=[("a", "i4")]),
        1j,
        range(3),
    ],
)
def test_other_kinds_are_refused(tmp_path, made):
    with pytest.raises(SourceError, match="is not read"):
        load_plain(save(tmp_path / "odd.npy", {"a": made}))


def test_addresses_cannot_come_out_of_a_file(tmp_path):
    """Types whose flags or sizes lie would let numpy take bytes for objects."""
    forged = Pickled(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    rebuild = np.zeros(1).__reduce__()[0]
    for of, shape, content in [
        (forged, (1,), b"\x41" * 8),
        (np.dtype("f8"), (1000,), b"\x41" * 8),
        (np.dtype("f8"), (-1,), b"\x41" * 8),
        (np.dtype("f8"), (True,), b"\x41" * 8),
        (np.dtype("f8"), [1], b"\x41" * 8),
        (np.dtype("f8"), (1,), ["a"]),
        ("f8", (1,), b"\x41" * 8),
        (np.dtype(object), (2,), ["a"]),
    ]:
        array = Pickled(rebuild, (np.ndarray, (0,), b"b"), (1, shape, of, False, content))
        with pytest.raises(SourceError, match="is not read: it holds an array"):
            load_plain(save(tmp_path / "forged.npy", [array]))
