"""Long texts: pieces of the .txt files of a folder, as clips without video."""

from pathlib import Path
from typing import NamedTuple

from torch.utils.data import Dataset

from components.clip import Clip, ClipSpec
from datamodules import SourceError, Split
from datamodules.video_splits import SPLITS, by_hash

SUFFIX = ".txt"


class Piece(NamedTuple):
    """So many bytes of a file."""

    file: Path
    start: int
    length: int


class Documents:
    """A ClipSource of texts: each file cut into pieces of `length` bytes; what is shorter is left out.

    So a stage of long rows reads long documents alone, as LWM's text stages do (arXiv 2402.08268, section
    3.1). A file's pieces lie in one split, by a hash of its name: a tenth of the files each in val and test,
    at least one. Clip: text; id is FILE/START.

    Args:
        root: a folder; its *.txt, also in folders within it, in UTF-8.
        length: bytes of a piece; about four to a token of English.

    Raises: SourceError where files are missing, too few, or too short.
    """

    def __init__(self, *, root: str, length: int) -> None:
        if length < 1:
            raise SourceError(f"data.length is {length}; a piece has at least 1 byte")
        self.root, self.length = Path(root).expanduser(), length

    def spec(self) -> ClipSpec:
        return ClipSpec(num_frames=0, height=0, width=0)

    def split(self, name: Split) -> "Pieces":
        files = sorted(self.root.rglob(f"*{SUFFIX}"))
        long = {str(file.relative_to(self.root)): file for file in files}
        long = {key: file for key, file in long.items() if file.stat().st_size >= self.length}
        if len(long) < len(SPLITS):
            told = (
                f"data.root={self.root}: {len(files)} *{SUFFIX}, {len(long)} of {self.length} bytes or more"
            )
            raise SourceError(f"{told}; give at least {len(SPLITS)}, or set data.length to less")
        place = by_hash(list(long), list(SPLITS))
        return Pieces(
            self.root,
            [
                Piece(file, start, self.length)
                for key, file in long.items()
                if place[key] == name
                for start in range(0, file.stat().st_size - self.length + 1, self.length)
            ],
        )


class Pieces(Dataset):
    """The pieces of one split."""

    def __init__(self, root: Path, pieces: list[Piece]) -> None:
        self.root, self.pieces = root, pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Clip:
        piece = self.pieces[index]
        with open(piece.file, "rb") as file:
            file.seek(piece.start)
            text = file.read(piece.length).decode("utf-8", errors="ignore")  # a letter may be cut in two
        return Clip(text=text, id=self.name_of(index))  # type: ignore[typeddict-item]

    def name_of(self, index: int) -> str:
        piece = self.pieces[index]
        return f"{piece.file.relative_to(self.root)}/{piece.start}"
