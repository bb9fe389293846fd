"""The clips of one split of a `datasets` source: a table's, or a stream's."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from components.clip import Clip
from components.randomness import mix
from datamodules import SourceError, Split
from datamodules.decoding import Unreadable
from datamodules.huggingface_rows import ClipCutter, fingerprint
from datamodules.video_splits import by_hash

_ATTEMPTS = 20  # other clips that are tried in place of one that cannot be used
_TENTHS: dict[str, int] = {"test": 0, "val": 1}  # of the fingerprints, where a stream has no such split

log = logging.getLogger("datamodules")


class RowClips(Dataset):
    """Clips of a table's rows; clips[i] depends on i and the rows alone.

    rows: a `datasets.Dataset` in arrow format. carved: splits that are taken out of its rows by a hash of the
    row's number. stride: images from one window to the next, null: no overlap. A row that cannot be used is
    replaced by another one, drawn from the index.
    """

    def __init__(
        self,
        rows: Any,
        cutter: ClipCutter,
        *,
        part: Split,
        carved: Sequence[Split],
        stride: int | None,
        clips_per_row: int,
    ) -> None:
        self.rows, self.cutter = rows, cutter
        self._refused: set[int] = set()
        mine = list(range(len(rows)))
        if carved and part in ("train", *carved):
            if len(rows) < 1 + len(carved):
                raise SourceError(
                    f"{cutter.name}: {len(rows)} rows cannot give train, {' and '.join(carved)}"
                )
            taken = by_hash([str(row) for row in mine], ["train", *carved])
            mine = [row for row in mine if taken[str(row)] == part]
        lengths = list_lengths(rows, cutter.video_column)
        if lengths is None:
            draws = [(row, i) for row in mine for i in range(clips_per_row)]
            self.windows = [(row, (i + unit(row, i)) / clips_per_row) for row, i in draws]
        else:
            span = int(cutter.picks()[-1]) + 1
            places = [max(0, int(lengths[row]) - span + 1) for row in mine]
            starts = [
                (row, n, s) for row, n in zip(mine, places, strict=True) for s in range(0, n, stride or span)
            ]
            self.windows = [(row, (start + 0.5) / n) for row, n, start in starts]
            short = places.count(0)
            if short and self.windows:
                log.warning(
                    "%s: %d of %d rows have fewer than %d images", cutter.name, short, len(mine), span
                )
        if not self.windows:
            raise SourceError(f"{cutter.name}: none of {len(mine)} rows is long enough; ask for fewer frames")

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        place, reasons = index, []
        for attempt in range(_ATTEMPTS):
            row, where = self.windows[place]
            try:
                return self.cutter.cut(self.rows[row : row + 1].to_pylist()[0], where, f"row_{row:06d}")
            except Unreadable as reason:
                reasons.append(f"row {row}: {reason}")
                if row not in self._refused:
                    log.warning("%s, %s; another row takes its place", self.cutter.name, reasons[-1])
                self._refused.add(row)
            place = mix(index, attempt) % len(self)
        raise SourceError(f"{self.cutter.name}: {len(reasons)} rows in turn cannot be used; {reasons[-1]}")


class ClipStream(IterableDataset):
    """Clips of a stream's rows, one a row in each pass, for one process; resumes at the very next clip.

    rows: a `datasets.IterableDataset`, already this process's share. carved: splits that are taken out of its
    rows by a hash of the video itself, which no way of sharding changes. Rows are handed out in blocks, each
    shuffled in itself; a resumed stream reads the block it was in again. Every iteration is a new pass, but
    the first one after load_state_dict goes on with the old one. Position and pass live in this object, so
    one data worker at most may read it.
    """

    def __init__(
        self, rows: Any, cutter: ClipCutter, *, part: Split, carved: Sequence[Split], block: int
    ) -> None:
        self.rows, self.cutter, self.part, self.carved, self.block = rows, cutter, part, carved, block
        self._pass, self._block, self._place = 0, 0, 0
        self._block_start: Any = None  # where the rows stood before the block; None: at their beginning
        self._iterated = False
        self._refused = 0

    def state_dict(self) -> dict[str, Any]:
        """Pass, block and place within it: what was handed out."""
        place = {"pass": self._pass, "block": self._block, "place": self._place}
        return place | {"block_start": self._block_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._pass, self._block, self._place = state["pass"], state["block"], state["place"]
        self._block_start = state["block_start"]
        self._iterated = False

    def __iter__(self) -> Iterator[Clip]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise SourceError(f"{self.cutter.name}: a stream is read by one worker; set loader.num_workers=1")
        if self._iterated:
            self._pass, self._block, self._place, self._block_start = self._pass + 1, 0, 0, None
        self._iterated = True
        empty = self._block_start is None and self._place == 0
        self.rows.set_epoch(self._pass)  # another order of shards in every pass
        self.rows.load_state_dict(self._block_start)
        rows = self._mine()
        while block := list(itertools.islice(rows, self.block)):
            after = self.rows.state_dict()
            order = np.argsort([mix(self._pass, self._block, i) for i in range(len(block))]).tolist()
            for place in order[self._place :]:
                self._place += 1
                label, row = block[place]
                try:
                    clip = self.cutter.cut(row, unit(label, self._pass), f"{label:014x}")
                except Unreadable as reason:
                    self._report(str(reason))
                    continue
                empty = False
                yield clip
            self._block, self._place, self._block_start = self._block + 1, 0, after
        if empty:
            raise SourceError(
                f"{self.cutter.name}: no row of the stream gives a clip for {self.part}; if the source is "
                f"small, set streaming=false, else look at {self.part}_split and the clip's length"
            )

    def _mine(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in self.rows:
            label = fingerprint(row[self.cutter.video_column])
            taken = next((part for part in self.carved if label % 10 == _TENTHS[part]), "train")
            if self.part not in ("train", *self.carved) or taken == self.part:
                yield label, row

    def _report(self, reason: str) -> None:
        """The first row, then the second, the fourth, ...: all of them would flood the screen."""
        self._refused += 1
        if self._refused.bit_count() == 1:
            log.warning("%s: rows left out so far: %d, now: %s", self.cutter.name, self._refused, reason)


def list_lengths(rows: Any, column: str) -> np.ndarray | None:
    """How many images each row has, without reading them; None for a column of videos."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = rows.select_columns(column)[:][column]
    if not any(is_list(cells.type) for is_list in (pa.types.is_list, pa.types.is_large_list)):
        return None
    return pc.fill_null(pc.list_value_length(cells), 0).to_numpy()


def unit(*keys: int) -> float:
    """A number in [0, 1) that depends on the keys alone."""
    return (mix(*keys) >> 10) / 2**53
