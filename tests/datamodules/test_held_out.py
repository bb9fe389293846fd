"""Validation sees the same clips every time, each process its share."""

import pytest

from datamodules import SourceError
from datamodules.held_out import HeldOutLoader
from tests.datamodules.numbered_clips import Stream, Table, flat, ids


def held_out(dataset, num_clips, **settings):
    return HeldOutLoader(dataset, batch_size=4, num_clips=num_clips, **settings)


def test_held_out_clips_are_spread_and_the_same_each_time():
    clips = held_out(Table(100), 10)
    assert len(clips) == 3
    assert ids(clips) == ids(clips) == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    assert ids(held_out(Table(6), 10)) == [[0, 1, 2, 3], [4, 5]]
    stream = held_out(Stream(10), 6)
    assert ids(stream) == ids(stream) == [[0, 1, 2, 3], [4, 5]]


def test_held_out_clips_are_shared_in_equal_contiguous_parts():
    shares = [flat(ids(held_out(Table(100), 10, rank=rank, world_size=3))) for rank in range(3)]
    assert shares == [[0, 10, 20], [30, 40, 50], [60, 70, 80]]
    with pytest.raises(SourceError, match="2 held-out clips for 3 processes"):
        held_out(Table(2), 10, world_size=3)


@pytest.mark.parametrize("dataset", [Table(100), Stream(100)])
def test_held_out_workers_stay_and_survive_an_unfinished_pass(dataset):
    clips = held_out(dataset, 12, num_workers=1)
    first = ids(clips, 1)
    assert ids(clips)[:1] == first
    workers = [worker.pid for worker in clips._loader._iterator._workers]
    assert len(ids(clips)) == 3
    assert [worker.pid for worker in clips._loader._iterator._workers] == workers
    clips.close()
