"""Clips become batches, or one line says which of them do not fit."""

import pickle

import pytest
import torch

from datamodules import SourceError
from datamodules.batches import Failure, collate
from tests.datamodules.numbered_clips import TwoPartError, clip


def test_an_error_that_cannot_travel_keeps_its_name_and_words():
    there = Failure(TwoPartError("bad frame", "a.mp4"))
    here = pickle.loads(pickle.dumps(there)).error
    assert isinstance(here, RuntimeError)
    assert str(here) == "TwoPartError: bad frame in a.mp4"


def test_clips_that_do_not_fit_together_are_named():
    with pytest.raises(SourceError, match="clip 2 has no text"):
        collate([clip(1), {key: value for key, value in clip(2).items() if key != "text"}])
    with pytest.raises(SourceError, match=r"video is \(2, 3, 4, 4\) in 1 and \(1, 3, 4, 4\) in 2"):
        collate([clip(1), clip(2) | {"video": torch.zeros(1, 3, 4, 4)}])


def test_collate_stacks_tensors_and_lists_strings():
    batch = collate([clip(1), clip(2)])
    assert batch["video"].shape == (2, 2, 3, 4, 4)
    assert batch["camera"]["poses"].shape == (2, 2, 4, 4)
    assert batch["fps"].tolist() == [10.0, 10.0]
    assert batch["text"] == ["number 1", "number 2"]
