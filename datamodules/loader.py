"""The loader: which clips a training step sees, in which process, and where to go on after a stop."""

import itertools
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset

from components.clip import Clip
from components.context_parallel import data_place
from datamodules import ClipSource, SourceError, Split
from datamodules.batches import (
    MapBatches,
    StreamBatches,
    handed_out,
    names_hash,
    of_all_processes,
    open_loader,
)
from datamodules.clip_order import BucketPlace, BucketSampler, Budget, ClipSampler, buckets_of, name
from datamodules.held_out import HeldOutLoader
from datamodules.latent_plan import Piece, PieceLoader


class ClipLoader:
    """Training batches of one process; one pass is one stage of training.

    batch_size is per process. Where the data set has `bucket_of(index)`, the size (t, h, w) of a clip, each
    batch is of one bucket, in all processes the same one; see BucketSampler, and there for budget. A pass
    hands out num_batches batches, however many data epochs that takes. `state_dict` says what was handed out,
    not what workers have read ahead, and is the same in all processes; after `load_state_dict` the pass goes
    on with the very next batch, also with another number of workers and, for map-style datasets, of
    processes. Lightning calls both and keeps the state in its checkpoints.

    timeout: seconds that workers may take over one batch. Without workers a decoder that hangs cannot be
    interrupted: its process waits until it is stopped from outside.

    A stream is read by at most one worker. After `load_state_dict` its next `iter` must go on from there to
    the end of that pass; each further `iter` is a new pass.

    Raises: SourceError if the state belongs to other data, or a worker hangs or dies; whatever the dataset
    raises, as it was raised.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        num_batches: int,
        seed: int,
        budget: Budget = "clips",
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        timeout: float = 300.0,
    ) -> None:
        clips: Any = dataset
        self._dataset = clips
        self.batch_size, self.num_batches = batch_size, num_batches
        self.seed, self.rank, self.world_size, self.num_workers = seed, rank, world_size, num_workers
        self.timeout = timeout
        self._num_clips = None if isinstance(dataset, IterableDataset) else len(clips)
        self._names = None if self._num_clips is None else names_hash(clips)
        self._buckets = {} if self._num_clips is None else buckets_of(clips, range(self._num_clips))
        if len(self._buckets) == 1:  # as good as none: the order that the clips would have without
            self._buckets = {}
        share = {"seed": seed, "rank": rank, "world_size": world_size}
        self._sampler: Any
        if self._buckets:
            self._sampler = BucketSampler(self._buckets, batch_size=batch_size, budget=budget, **share)
        else:  # of a stream only the places are used
            self._sampler = ClipSampler(self._num_clips or 1, batch_size=batch_size, **share)
        self._place: Any = self._sampler.start()  # where training is, over all processes and passes
        self._batches = 0  # batches handed out in this pass
        self._stream: Any = None  # where this process's stream stands

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Clip]:
        if self._batches >= self.num_batches:
            self._batches = 0
        batches = handed_out(self._open(), self._awaited)
        while self._batches < self.num_batches:
            batch, self._stream = next(batches)
            self._batches += 1
            self._place = self._sampler.after(self._place)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"batches": self._batches, "seed": self.seed, "names": self._names}
        if isinstance(self._place, BucketPlace):
            taken = {name(size): count for size, count in zip(self._buckets, self._place.taken, strict=True)}
            return state | {"clips": self._num_clips, "epoch": self._place.epoch, "taken": taken}
        state["position"] = self._place
        if self._num_clips is None:
            return state | {"streams": of_all_processes(self.rank, self._stream)}
        return state | {"clips": self._num_clips}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if (state.get("clips"), state["seed"]) != (self._num_clips, self.seed):
            raise SourceError(
                f"data: the checkpoint was at {_describe(state.get('clips'), state['seed'])}, this run reads "
                f"{_describe(self._num_clips, self.seed)}; resume with the same data or start a new run"
            )
        if state.get("names", self._names) != self._names:
            raise SourceError(
                "data: the checkpoint's clips have other names than this run's, or come in another order; "
                "resume with the same data or start a new run"
            )
        streams = state.get("streams")
        if streams is not None and len(streams) != self.world_size:
            raise SourceError(
                f"data: a stream read by {len(streams)} processes cannot go on in {self.world_size}; "
                f"resume with {len(streams)} or start a new run"
            )
        was, now = list(state.get("taken", {})), [name(size) for size in self._buckets]
        if was != now:
            raise SourceError(
                f"data: the checkpoint's clips lie in buckets ({', '.join(was) or 'none'}), this run's in "
                f"({', '.join(now) or 'none'}); resume with the same data or start a new run"
            )
        self._batches = state["batches"]
        if self._buckets:
            self._place = BucketPlace(state["epoch"], tuple(state["taken"].values()))
        else:
            self._place = state["position"]
        self._stream = streams[self.rank] if streams is not None else None

    def _open(self) -> DataLoader:
        if self._num_clips is None:
            stream = StreamBatches(
                self._dataset, batch_size=self.batch_size, state=self._stream, num_clips=None
            )
            workers = min(1, self.num_workers)
            return open_loader(
                stream, indices=None, num_workers=workers, seed=self.seed, timeout=self.timeout
            )
        return open_loader(
            MapBatches(self._dataset),
            indices=itertools.islice(self._indices(), self.num_batches - self._batches),
            num_workers=self.num_workers,
            seed=self.seed,
            timeout=self.timeout,
        )

    def _indices(self) -> Iterator[list[int]]:
        """The clips of each batch from here on."""
        place = self._place
        while True:
            yield self._sampler.batch(place)
            place = self._sampler.after(place)

    def _awaited(self, batches: int) -> str:
        if self._num_clips is None:
            return f"the stream's clips after {self._place}"
        return MapBatches(self._dataset).names(
            i for batch in itertools.islice(self._indices(), batches) for i in batch
        )


class ClipDataModule(LightningDataModule):
    """A ClipSource as Lightning wants it: an endless shuffled train, a fixed val_clips of val and of test.

    batch_size is per process, budget as ClipLoader's; num_batches = optimizer steps * accumulated batches;
    timeout: seconds that workers (num_workers above 0) may take over one batch before the run stops and names
    its videos. pieces: what this process's predict_dataloader reads; callbacks.latent_writer sets them. Needs
    Trainer(max_epochs=1, use_distributed_sampler=False).
    """

    def __init__(
        self,
        *,
        source: ClipSource,
        batch_size: int,
        num_batches: int,
        val_clips: int,
        num_workers: int,
        seed: int,
        budget: Budget = "clips",
        timeout: float = 300.0,
    ) -> None:
        super().__init__()
        self.source, self.batch_size, self.num_batches = source, batch_size, num_batches
        self.val_clips, self.num_workers, self.seed = val_clips, num_workers, seed
        self.budget: Budget = budget
        self.timeout = timeout
        self.pieces: list[Piece] = []
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer pieces than processes
        self._held_out_loaders: list[HeldOutLoader] = []

    def train_dataloader(self) -> ClipLoader:
        rank, world_size = self.place()
        return ClipLoader(
            self.source.split("train"),
            batch_size=self.batch_size,
            num_batches=self.num_batches,
            seed=self.seed,
            budget=self.budget,
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            timeout=self.timeout,
        )

    def val_dataloader(self) -> HeldOutLoader:
        return self._held_out("val")

    def test_dataloader(self) -> HeldOutLoader:
        return self._held_out("test")

    def predict_dataloader(self) -> PieceLoader:
        return PieceLoader(
            self.source,
            self.pieces,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            timeout=self.timeout,
        )

    def teardown(self, stage: str) -> None:
        for loader in self._held_out_loaders:
            loader.close()
        self._held_out_loaders.clear()

    def _held_out(self, split: Split) -> HeldOutLoader:
        rank, world_size = self.place()
        loader = HeldOutLoader(
            self.source.split(split),
            batch_size=self.batch_size,
            num_clips=self.val_clips,
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            timeout=self.timeout,
        )
        self._held_out_loaders.append(loader)
        return loader

    def place(self) -> tuple[int, int]:
        """Rank and number among the processes that see different data."""
        return data_place(self.trainer)


def _describe(num_clips: int | None, seed: int) -> str:
    return f"{'a stream' if num_clips is None else f'{num_clips} clips'} with seed {seed}"
