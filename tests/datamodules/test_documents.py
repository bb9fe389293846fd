"""Long texts: pieces of files, each file in one split."""

import pytest

from datamodules import ClipSource, SourceError
from datamodules.documents import Documents


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "books").mkdir()
    for number in range(30):
        text = "".join(chr(97 + (number + i) % 26) for i in range(100 + 10 * number))
        (tmp_path / "books" / f"{number}.txt").write_text(text)
    (tmp_path / "short.txt").write_text("too short")
    return tmp_path


def test_pieces_are_the_files_cut(folder):
    source = Documents(root=str(folder), length=64)
    assert isinstance(source, ClipSource)
    assert source.spec().num_frames == 0
    names = set()
    for split in ("train", "val", "test"):
        pieces = source.split(split)
        assert len(pieces) > 0
        for index in range(len(pieces)):
            clip = pieces[index]
            file, start = clip["id"].rsplit("/", 1)
            assert clip["text"] == (folder / file).read_text()[int(start) : int(start) + 64]
            assert int(start) % 64 == 0
            names.add((file, split))
    assert len(names) == len({file for file, _ in names}) == 30  # a file lies in one split


def test_a_letter_that_is_cut_in_two_is_left_out(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("aé" * 10, encoding="utf-8")
    assert Documents(root=str(tmp_path), length=2).split("train")[0]["text"] == "a"


@pytest.mark.parametrize(
    ("length", "told"),
    [(0, "at least 1 byte"), (64, r"0 \*.txt, 0 of 64 bytes or more; give at least 3, or set data.length")],
)
def test_mistakes_are_told_in_a_line(tmp_path, length, told):
    with pytest.raises(SourceError, match=told):
        Documents(root=str(tmp_path), length=length).split("train")
