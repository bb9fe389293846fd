"""The clips that a model is judged on: the same ones at every validation."""

import math
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from components.clip import Clip
from datamodules import SourceError
from datamodules.batches import MapBatches, StreamBatches, handed_out, open_loader
from datamodules.clip_order import buckets_of


class HeldOutLoader:
    """The same held-out clips at every pass, each process a contiguous share.

    Of a map-style dataset, `num_clips` (or all there are) evenly spread; of a stream, its first ones. Shares
    are equal: what num_clips leaves over when divided by world_size is left out. The last batch may be
    smaller. Clips that lie in buckets (see ClipLoader) are shared out and batched bucket by bucket, so that
    all processes have as many batches. Workers stay for the next pass, until `close`.

    Raises: SourceError if there are fewer clips than processes; whatever the dataset raises, as it is.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        num_clips: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        timeout: float = 300.0,
    ) -> None:
        clips: Any = dataset
        stream = isinstance(dataset, IterableDataset)
        self._timeout = timeout
        self._batches: MapBatches | StreamBatches
        self._indices: list[list[int]] | None
        if stream:
            share = num_clips // world_size
            # From its first state at every pass, so that a stream that counts its passes repeats the first.
            first = clips.state_dict()
            self._batches = StreamBatches(dataset, batch_size=batch_size, state=first, num_clips=share)
            self._indices, self._num_workers = None, min(1, num_workers)
            self._num_batches = math.ceil(share / batch_size)
        else:
            self._batches = MapBatches(dataset)
            self._indices, self._num_workers = [], num_workers
            chosen = spread(len(clips), num_clips)
            for together in list(buckets_of(clips, chosen).values()) or [chosen]:
                share = len(together) // world_size
                mine = together[rank * share : (rank + 1) * share]
                self._indices += [mine[i : i + batch_size] for i in range(0, share, batch_size)]
            self._num_batches = len(self._indices)
        if self._num_batches == 0:
            have = num_clips if stream else min(num_clips, len(clips))
            raise SourceError(f"data: {have} held-out clips for {world_size} processes; raise val_clips")
        self._loader: DataLoader | None = None
        self._handed_out = 0  # batches of this pass

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Clip]:
        if self._loader is None:
            self._loader = open_loader(
                self._batches,
                indices=self._indices,
                num_workers=self._num_workers,
                seed=0,
                timeout=self._timeout,
                persistent=True,
            )
        self._handed_out = 0
        for batch, _ in handed_out(self._loader, self._awaited):
            self._handed_out += 1
            yield batch

    def _awaited(self, batches: int) -> str:
        if not isinstance(self._batches, MapBatches) or self._indices is None:
            return "the stream's held-out clips"
        ahead = self._indices[self._handed_out : self._handed_out + batches]
        return self._batches.names(i for batch in ahead for i in batch)

    def close(self) -> None:
        """Let the workers go; a later pass starts new ones."""
        self._loader = None


def spread(num_clips: int, wanted: int) -> list[int]:
    """So many of the clips, or all, evenly spread."""
    available = min(wanted, num_clips)
    return [i * num_clips // available for i in range(available)]
