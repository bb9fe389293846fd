"""Clips in buckets: one bucket a step in all processes, nothing dropped, and the same after any stop."""

from collections import Counter
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules import SourceError
from datamodules.clip_order import BucketSampler
from datamodules.held_out import HeldOutLoader
from datamodules.loader import ClipLoader
from tests.datamodules.numbered_clips import Table, clip, ids

BUCKETS = {(1, 4, 4): list(range(7)), (2, 4, 4): list(range(7, 30)), (2, 4, 8): list(range(30, 41))}


def samplers(world_size=1, buckets=BUCKETS, **settings):
    usual = {"batch_size": 2, "seed": 3}
    return [
        BucketSampler(buckets, rank=rank, world_size=world_size, **usual | settings)
        for rank in range(world_size)
    ]


def walk(ranks, place, steps):
    """What all processes together see at each step, and the place after."""
    seen = []
    for _ in range(steps):
        seen.append([clip for rank in ranks for clip in rank.batch(place)])
        places = {rank.after(place) for rank in ranks}
        (place,) = places
    return seen, place


def bucket_of(number, buckets=BUCKETS):
    return next(size for size, clips in buckets.items() if number in clips)


def covers(stream, buckets=BUCKETS):
    """Whether each bucket's clips come permutation after permutation."""
    for clips in buckets.values():
        mine = [number for number in stream if number in clips]
        for start in range(0, len(mine) - len(clips) + 1, len(clips)):
            if sorted(mine[start : start + len(clips)]) != clips:
                return False
        if max(Counter(mine[len(mine) // len(clips) * len(clips) :]).values(), default=0) > 1:
            return False
    return True


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=5),
    batch_size=st.integers(1, 6),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_an_epoch_has_every_clip_but_less_than_a_batch_of_each_bucket(sizes, batch_size, world_size, seed):
    ends = list(accumulate(sizes))
    buckets = {(1, 1, end): list(range(end - n, end)) for n, end in zip(sizes, ends, strict=True)}
    ranks = samplers(world_size, buckets, batch_size=batch_size, seed=seed)
    place, stream = ranks[0].start(), []
    for _ in range(40):
        (batch,), after = walk(ranks, place, 1)
        assert len(batch) == batch_size * world_size
        assert len({bucket_of(number, buckets) for number in batch}) == 1
        left = [after.epoch * n - taken for n, taken in zip(sizes, place.taken, strict=True)]
        if after.epoch > place.epoch:  # what an epoch leaves is no whole batch, and comes in the next
            assert max(left) < batch_size * world_size
        assert all((after.epoch + 1) * n >= taken for n, taken in zip(sizes, after.taken, strict=True))
        place, stream = after, stream + batch
    assert covers(stream, buckets)


def test_batches_of_all_buckets_come_mixed():
    (sampler,) = samplers(batch_size=1)
    batches, _ = walk([sampler], sampler.start(), 41)
    order = [bucket_of(number) for (number,) in batches]
    assert sorted(number for (number,) in batches) == list(range(41))
    assert sum(a != b for a, b in pairwise(order)) > 15
    (other,) = samplers(batch_size=1, seed=4)
    assert walk([other], other.start(), 41)[0] != batches
    assert walk(samplers(batch_size=1), sampler.start(), 41)[0] == batches


@settings(max_examples=30)
@given(stops=st.lists(st.integers(1, 9), min_size=1, max_size=4), worlds=st.permutations([1, 2, 3, 2, 1]))
def test_a_run_that_changes_its_number_of_processes_still_covers_every_clip(stops, worlds):
    place, stream = samplers()[0].start(), []
    for steps, world_size in zip([*stops, 20], worlds, strict=False):
        batches, place = walk(samplers(world_size), place, steps)
        stream += [number for batch in batches for number in batch]
    assert covers(stream)
    assert len(stream) == sum(place.taken)


def test_a_budget_of_pixels_gives_smaller_buckets_more_clips():
    (sampler,) = samplers(batch_size=3, budget="pixels")
    assert sampler.batch_sizes == [12, 6, 3]
    assert samplers(batch_size=3)[0].batch_sizes == [3, 3, 3]


class Bucketed(Table):
    """Clips in three sizes, by their number."""

    def __init__(self, size: int = 41, buckets=BUCKETS) -> None:
        super().__init__(size)
        self.buckets = buckets

    def bucket_of(self, index):
        return bucket_of(index, self.buckets)

    def __getitem__(self, index):
        frames, height, width = self.bucket_of(index)
        made = clip(index)
        return made | {"video": made["video"][:1, :, :1, :1].expand(frames, 3, height, width)}


def loader(**settings):
    usual = {"batch_size": 2, "num_batches": 30, "seed": 3}
    return ClipLoader(settings.pop("dataset", Bucketed()), **usual | settings)


@pytest.mark.parametrize("stop", [0, 1, 7, 30])
def test_the_loader_goes_on_with_the_next_batch(stop):
    whole = ids(loader(num_batches=31))
    first, again = loader(num_batches=31), loader(num_batches=31)
    assert ids(first, stop) == whole[:stop]
    state = first.state_dict()
    assert sum(state["taken"].values()) == 2 * stop
    again.load_state_dict(state)
    assert ids(again) == whole[stop:]


def test_the_loader_goes_on_in_other_numbers_of_processes():
    one = loader()
    seen = [number for batch in ids(one, 5) for number in batch]
    two = [loader(rank=rank, world_size=2) for rank in range(2)]
    for rank in two:
        rank.load_state_dict(one.state_dict())
    parts = [ids(rank, 5) for rank in two]
    assert all({bucket_of(n) for n in a} == {bucket_of(n) for n in b} for a, b in zip(*parts, strict=True))
    seen += [number for a, b in zip(*parts, strict=True) for number in a + b]
    assert two[0].state_dict() == two[1].state_dict()
    last = loader()
    last.load_state_dict(two[0].state_dict())
    seen += [number for batch in ids(last) for number in batch]
    assert covers(seen)
    assert len(seen) == 2 * (5 + 20 / 2) + 2 * 20


def test_other_buckets_are_refused():
    state = loader().state_dict()
    moved = {(1, 4, 4): list(range(30)), (2, 4, 8): list(range(30, 41))}
    with pytest.raises(
        SourceError, match=r"lie in buckets \(1x4x4, 2x4x4, 2x4x8\), this run's in \(1x4x4, 2x4x8\)"
    ):
        loader(dataset=Bucketed(buckets=moved)).load_state_dict(state)
    with pytest.raises(SourceError, match=r"this run's in \(none\)"):
        loader(dataset=Table(41)).load_state_dict(state)


def test_held_out_batches_are_of_one_bucket_and_as_many_in_every_process():
    alone = HeldOutLoader(Bucketed(), batch_size=4, num_clips=41)
    assert sorted(number for batch in ids(alone) for number in batch) == list(range(41))
    assert all(len({bucket_of(number) for number in batch}) == 1 for batch in ids(alone))
    ranks = [
        HeldOutLoader(Bucketed(), batch_size=4, num_clips=41, rank=rank, world_size=3) for rank in range(3)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    for batches in zip(*map(ids, ranks), strict=True):
        assert len({bucket_of(number) for batch in batches for number in batch}) == 1
    seen = [number for rank in ranks for batch in ids(rank) for number in batch]
    assert len(seen) == len(set(seen)) == 6 + 21 + 9
