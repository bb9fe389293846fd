"""Weights of another run: parts that both models have are taken, within a part every tensor must fit."""

import pytest
import torch
from torch import nn

from checkpoints.own import CheckpointError, load_parts
from launch.main import main


def model(**parts):
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(*shape) for name, shape in parts.items()})


def test_shared_parts_are_taken_and_others_stay(tmp_path):
    own, other = model(generator=(2, 2), judge=(2, 1)), model(generator=(2, 2), posterior=(3, 1))
    with torch.no_grad():
        other["generator"].weight.fill_(7)
    judge = own["judge"].weight.clone()
    assert load_parts(own, other.state_dict(), tmp_path) == ["judge", "posterior"]
    assert (own["generator"].weight == 7).all()
    assert torch.equal(own["judge"].weight, judge)


def test_a_part_must_fit_and_one_must_be_shared(tmp_path):
    own = model(generator=(2, 2))
    with pytest.raises(CheckpointError, match=r"generator.weight is \(2, 3\), the model has \(2, 2\)"):
        load_parts(own, model(generator=(3, 2)).state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match="shares no part with the model, which has generator"):
        load_parts(own, model(judge=(2, 2)).state_dict(), tmp_path)


def test_weights_that_are_not_there_start_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipe=savp", "weights=nowhere"]) == 2
    assert "weights=  nowhere: no such file or folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
