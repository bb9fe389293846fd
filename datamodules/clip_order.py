"""The order of training clips: a function of the seed that neither processes nor stops change."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch

from components.randomness import mix

Bucket = tuple[int, int, int]
Budget = Literal["clips", "pixels"]
_ORDER, _CHOICE = 0, 1  # what a seed is drawn for


class ClipSampler:
    """The order of training clips: permutations of the dataset, one after the other, nothing dropped.

    Permutation e is drawn from mix(seed, e). The stream of clips depends on neither batch size nor number of
    processes: a global batch is the next batch_size * world_size places of it, and process `rank` takes the
    rank-th slice of batch_size. So two processes see what one process with twice the batch size sees.
    """

    def __init__(
        self, num_clips: int, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_clips, self.seed = num_clips, seed
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self._epoch, self._order = -1, torch.empty(0)

    def start(self) -> int:
        return 0

    def batch(self, place: int) -> list[int]:
        """This process's part of the batch at a place in the stream."""
        mine = place + self.rank * self.batch_size
        return [self._clip(at) for at in range(mine, mine + self.batch_size)]

    def after(self, place: int) -> int:
        """Where the next batch begins."""
        return place + self.batch_size * self.world_size

    def _clip(self, place: int) -> int:
        epoch, index = divmod(place, self.num_clips)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch))
            self._epoch, self._order = epoch, torch.randperm(self.num_clips, generator=generator)
        return int(self._order[index])


class BucketPlace(NamedTuple):
    """How far training has come: data epoch, and clips taken of each bucket so far, over all processes."""

    epoch: int
    taken: tuple[int, ...]


class BucketSampler:
    """The order of training clips that lie in buckets: one bucket a step, in all processes the same one.

    buckets: the clips of every bucket (t, h, w). A process takes batch_size clips of a bucket at a time; with
    the budget "pixels" of the largest bucket batch_size, of others as many as have no more pixels.

    Each bucket has its own stream, permutation after permutation of its clips, from which global batches are
    cut; process `rank` takes the rank-th slice. In a data epoch the batches that every bucket still has whole
    come in random order; what is left over is in a batch of the next epoch. So nothing is dropped, and a
    bucket smaller than a batch has one every few epochs.

    A place is counted in clips, and what comes next is a function of seed, place and world_size: after a stop
    the streams go on where they were, with any number of processes.
    """

    def __init__(
        self,
        buckets: Mapping[Bucket, Sequence[int]],
        *,
        batch_size: int,
        seed: int,
        budget: Budget = "clips",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        volumes = [math.prod(bucket) for bucket in buckets]
        self.batch_sizes = [
            batch_size * max(volumes) // volume if budget == "pixels" else batch_size for volume in volumes
        ]
        self.clips = [torch.as_tensor(clips) for clips in buckets.values()]
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._orders: dict[tuple[int, int], torch.Tensor] = {}

    def start(self) -> BucketPlace:
        return BucketPlace(0, (0,) * len(self.clips))

    def batch(self, place: BucketPlace) -> list[int]:
        """This process's part of the batch at a place."""
        bucket, _ = self._choose(place)
        size = self.batch_sizes[bucket]
        first = place.taken[bucket] + self.rank * size
        return [self._clip(bucket, at) for at in range(first, first + size)]

    def after(self, place: BucketPlace) -> BucketPlace:
        """Where training stands after that batch."""
        bucket, epoch = self._choose(place)
        taken = list(place.taken)
        taken[bucket] += self.batch_sizes[bucket] * self.world_size
        return BucketPlace(epoch, tuple(taken))

    def _choose(self, place: BucketPlace) -> tuple[int, int]:
        """The next bucket, in proportion to the whole batches that are left of it, and the epoch."""
        epoch = place.epoch
        while not any(whole := [self._whole_batches(b, epoch, place) for b in range(len(self.clips))]):
            epoch += 1
        drawn = mix(self.seed, _CHOICE, epoch, sum(place.taken)) % sum(whole)
        ends = [sum(whole[: b + 1]) for b in range(len(whole))]
        return next(b for b, end in enumerate(ends) if drawn < end), epoch

    def _whole_batches(self, bucket: int, epoch: int, place: BucketPlace) -> int:
        left = (epoch + 1) * len(self.clips[bucket]) - place.taken[bucket]
        return max(0, left // (self.batch_sizes[bucket] * self.world_size))

    def _clip(self, bucket: int, at: int) -> int:
        epoch, index = divmod(at, len(self.clips[bucket]))
        if (bucket, epoch) not in self._orders:
            self._orders.pop((bucket, epoch - 2), None)  # batches may hold clips of two epochs
            generator = torch.Generator().manual_seed(mix(self.seed, _ORDER, bucket, epoch))
            order = torch.randperm(len(self.clips[bucket]), generator=generator)
            self._orders[bucket, epoch] = self.clips[bucket][order]
        return int(self._orders[bucket, epoch][index])


def buckets_of(dataset: Any, indices: Iterable[int]) -> dict[Bucket, list[int]]:
    """Those clips of each bucket, by its size, in the order of sizes; none where clips lie in no buckets."""
    clips = defaultdict(list)
    if hasattr(dataset, "bucket_of"):
        for index in indices:
            clips[dataset.bucket_of(index)].append(index)
    return {size: clips[size] for size in sorted(clips)}


def name(bucket: Bucket) -> str:
    return "x".join(map(str, bucket))
