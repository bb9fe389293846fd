"""Which clips are cached, in which shards: a function of the source and of what is there already.

A clip is known by a key, a hash of what it is made of, as its data set tells by `key_of(index)`: a file's
content, the place in it and the caption. Where it does not, a clip is its place among so many.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple, get_args

from torch.utils.data import Dataset, IterableDataset

from components.clip import Clip
from datamodules import ClipSource, SourceError, Split
from datamodules.batches import MapBatches, handed_out, open_loader
from datamodules.clip_order import buckets_of
from datamodules.held_out import spread

Chosen = Mapping[Split, int | None]  # clips of each split, None = all


class Piece(NamedTuple):
    """What becomes one shard: clips of one split and one bucket, each with its key."""

    split: Split
    clips: dict[str, int]  # key -> index

    @property
    def name(self) -> str:
        return hashlib.sha256(" ".join(sorted(self.clips)).encode()).hexdigest()[:16]


def plan(source: ClipSource, chosen: Chosen, done: Set[str], clips_per_shard: int) -> list[Piece]:
    """What is still to be done, in the order of the source.

    It does not depend on the number of processes, and goes on with the same pieces after some of them are
    done, so that a stop changes no batch.
    """
    pieces = []
    for split in get_args(Split):
        dataset: Any = source.split(split)
        for clips in chosen_by_bucket(dataset, split, chosen[split]):
            waiting = [(key, index) for key, index in clips.items() if key not in done]
            starts = range(0, len(waiting), clips_per_shard)
            pieces += [Piece(split, dict(waiting[i : i + clips_per_shard])) for i in starts]
    return pieces


def chosen_by_bucket(dataset: Any, split: Split, count: int | None) -> list[dict[str, int]]:
    """Keys and indices of the clips that are cached, those of each bucket together."""
    clips = chosen_clips(dataset, split, count)
    names = {index: key for key, index in clips.items()}
    groups = list(buckets_of(dataset, names).values()) or [list(names)]
    return [{names[index]: index for index in group} for group in groups]


def chosen_clips(dataset: Any, split: Split, count: int | None) -> dict[str, int]:
    """Key and index of the clips that are cached, in the order of the data set; of equal clips the first.

    Of training clips those with the lowest keys, so that a larger count keeps what a smaller one chose; of
    the others those that validation looks at.
    """
    if isinstance(dataset, IterableDataset):
        raise SourceError(
            "data: a stream cannot be cached, its clips have no place; set data.streaming=false"
        )
    indices: Sequence[int] = range(len(dataset))
    if split != "train" and count is not None:
        indices = spread(len(dataset), count)
    keys: dict[str, int] = {}
    for index in indices:
        keys.setdefault(clip_key(dataset, split, index), index)
    if split == "train" and count is not None:
        keys = {key: keys[key] for key in sorted(sorted(keys)[:count], key=keys.__getitem__)}
    return keys


def clip_key(dataset: Any, split: Split, index: int) -> str:
    key_of = getattr(dataset, "key_of", f"{{}} of {len(dataset)}".format)
    return hashlib.sha256(f"{split} {key_of(index)}".encode()).hexdigest()[:32]


class PieceLoader:
    """The clips of one process's pieces, batch by batch; no batch spans two pieces."""

    def __init__(
        self,
        source: ClipSource,
        pieces: list[Piece],
        *,
        batch_size: int,
        num_workers: int,
        timeout: float,
    ) -> None:
        self._clips = AllSplits({split: source.split(split) for split in {piece.split for piece in pieces}})
        self._indices: list[Any] = []
        for piece in pieces:
            places = [(piece.split, index) for index in piece.clips.values()]
            self._indices += [places[i : i + batch_size] for i in range(0, len(places), batch_size)]
        self._num_workers, self._timeout = num_workers, timeout
        self._handed_out = 0

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Clip]:
        self._handed_out = 0
        loader = open_loader(
            MapBatches(self._clips),
            indices=self._indices,
            num_workers=self._num_workers,
            seed=0,
            timeout=self._timeout,
        )
        for batch, _ in handed_out(loader, self._awaited):
            self._handed_out += 1
            yield batch

    def _awaited(self, batches: int) -> str:
        ahead = self._indices[self._handed_out : self._handed_out + batches]
        return MapBatches(self._clips).names(place for batch in ahead for place in batch)


class AllSplits(Dataset):
    """The clips of several splits, by split and index."""

    def __init__(self, datasets: Mapping[Split, Any]) -> None:
        self.datasets = dict(datasets)

    def __getitem__(self, place: tuple[Split, int]) -> Any:
        split, index = place
        return self.datasets[split][index]

    def name_of(self, place: tuple[Split, int]) -> str:
        split, index = place
        return getattr(self.datasets[split], "name_of", f"{split} clip {{}}".format)(index)
