"""From clips to batches, in this process or in workers.

Workers make whole batches and hand back their errors as values, so that what a decoder raises reaches the
user as it was raised and not wrapped in the words of a worker.
"""

import copy
import hashlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from components.clip import Clip
from components.randomness import mix
from datamodules import SourceError

MOST_NAMES = 100_000  # of clips that a checkpoint is compared by
OneClip = dict[str, Any]  # a Clip without the batch axis
Batch = tuple[Clip, Any]  # a batch, and where a stream stands after it (None for a map-style dataset)


def collate(clips: list[OneClip]) -> Clip:
    """Stack tensors, list strings; the same within `camera`. All clips must have the same keys and shapes."""
    batch: dict[str, Any] = {}
    for key in {key: None for clip in clips for key in clip}:
        missing = [clip["id"] for clip in clips if key not in clip]
        if missing:
            raise SourceError(f"clip {missing[0]} has no {key}, others of its batch do; use clips that agree")
        batch[key] = _join(key, [clip[key] for clip in clips], clips)
    return cast(Clip, batch)


def _join(key: str, values: list[Any], clips: list[OneClip]) -> Any:
    if isinstance(values[0], str):
        return values
    if isinstance(values[0], dict):
        return {name: _join(f"{key}.{name}", [value[name] for value in values], clips) for name in values[0]}
    for value, clip in zip(values, clips, strict=True):
        if value.shape != values[0].shape:
            raise SourceError(
                f"clips of one batch differ in shape: {key} is {tuple(values[0].shape)} in {clips[0]['id']} "
                f"and {tuple(value.shape)} in {clip['id']}; use clips that agree"
            )
    return torch.stack(values)


class Failure:
    """What was raised while a batch was made, in a form that survives the way out of a worker."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getstate__(self) -> dict[str, Exception]:
        error = self.error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note("raised in a data worker:\n" + "".join(traceback.format_exception(self.error)))
        return {"error": error}


class MapBatches(Dataset):
    """Batches of a map-style dataset, by lists of indices."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset: Any = dataset

    def names(self, indices: Iterable[int]) -> str:
        """What clips are read from, without reading them."""
        name_of = getattr(self.dataset, "name_of", "clip {}".format)
        return ", ".join(dict.fromkeys(name_of(i) for i in indices))

    def __getitem__(self, indices: list[int]) -> Batch | Failure:
        try:
            return collate([self.dataset[i] for i in indices]), None
        except Exception as error:
            return Failure(error)


def names_hash(dataset: Any) -> str | None:
    """Tells clips from others as many; None where clips have no names. Of very many, some are asked."""
    if not hasattr(dataset, "name_of"):
        return None
    every = -(-len(dataset) // MOST_NAMES)
    names = "\n".join(dataset.name_of(i) for i in range(0, len(dataset), max(1, every)))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def of_all_processes(rank: int, stream: Any) -> dict[int, Any]:
    """Where every process's stream stands, by rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return {rank: stream}
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, (rank, stream))
    return dict(states)


class StreamBatches(IterableDataset):
    """Batches of a stream from a state on: `num_clips` of one pass, or pass after pass without end.

    The state travels with the batch: what a worker has read ahead does not count as handed out.
    """

    def __init__(self, dataset: Dataset, *, batch_size: int, state: Any, num_clips: int | None) -> None:
        self.dataset: Any = dataset
        self.batch_size, self.state, self.num_clips = batch_size, state, num_clips

    def __iter__(self) -> Iterator[Batch | Failure]:
        try:
            if self.state is not None:
                self.dataset.load_state_dict(self.state)
            clips = (
                self._passes() if self.num_clips is None else itertools.islice(self.dataset, self.num_clips)
            )
            while batch := list(itertools.islice(clips, self.batch_size)):
                yield collate(batch), copy.deepcopy(self.dataset.state_dict())
        except Exception as error:
            yield Failure(error)

    def _passes(self) -> Iterator[OneClip]:
        empty_passes = 0  # one is fine: the loaded state may be the end of a pass
        while empty_passes < 2:
            empty_passes += 1
            for clip in self.dataset:
                empty_passes = 0
                yield clip
        raise SourceError("the stream ended without a single clip; check its split, filters and clip length")


def open_loader(
    batches: MapBatches | StreamBatches,
    *,
    indices: Iterable[list[int]] | None,
    num_workers: int,
    seed: int,
    timeout: float,
    persistent: bool = False,
) -> DataLoader:
    """A DataLoader that hands out ready batches and leaves the global random state alone.

    timeout: seconds that workers may take over a batch; without workers nothing can interrupt a decoder.
    """
    return DataLoader(
        batches,
        batch_size=None,
        sampler=indices,
        num_workers=num_workers,
        timeout=timeout if num_workers else 0,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        multiprocessing_context="spawn" if num_workers else None,
        persistent_workers=persistent and num_workers > 0,
        generator=torch.Generator().manual_seed(mix(seed)),
    )


def handed_out(items: Iterable[Batch | Failure], awaited: Callable[[int], str]) -> Iterator[Batch]:
    """The batches; raises what went wrong when its turn comes.

    awaited: names the clips of so many batches, from the one whose turn it is on.
    Raises: SourceError where a worker hangs or dies, beside what the dataset raises.
    """
    batches = iter(items)
    while True:
        try:
            item = next(batches)
        except StopIteration:
            return
        except (RuntimeError, ConnectionError, EOFError) as error:  # what a dataset raises comes as a Failure
            said = str(error).partition("\n")[0]
            ended = not isinstance(error, RuntimeError)  # in the middle of handing over a batch
            if "timed out" in said:
                reason, clips = "hangs", awaited(1)
                do = "mend or remove it, or raise loader.timeout where decoding is only slow"
            elif ended or "exited unexpectedly" in said:  # what it had not yet handed over is lost with it
                ahead = max(1, getattr(items, "num_workers", 1)) * 2
                reason, clips = "died", awaited(ahead)
                do = "mend or remove it, or take fewer loader.num_workers where memory ran out"
            else:
                raise
            raise SourceError(f"data: a worker {reason} over one of {clips} ({said}); {do}") from error
        if isinstance(item, Failure):
            raise item.error
        yield item


def _as_it_is(batch: Any) -> Any:
    return cast(Clip, batch)


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """PyTorch's own watch misses a main process that was killed while this one was still starting."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
