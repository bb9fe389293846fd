"""Files of VideoWorld that are damaged, do not fit, or hold more than weights."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoints.own import CheckpointError, Refused
from checkpoints.videoworld import fill_decoder, fill_dynamics, fill_tokenizer, horizon, read
from tests.checkpoints.make_videoworld_official import FIXTURE, HORIZONS, state
from tests.checkpoints.test_videoworld import decoder, dynamics, tokenizer, write


@pytest.fixture(scope="module")
def names():
    with np.load(FIXTURE) as file:
        return json.loads(bytes(file["names"]))


def fill(path, case):
    if case == "tokenizer":
        fill_tokenizer(path=path, tokenizer=tokenizer())
    elif case == "decoder":
        made, table = decoder()
        fill_decoder(path=path, decoder=made, table=table)
    else:
        fill_dynamics(path=path, dynamics=dynamics(HORIZONS[case]))


NAMES = {
    "tokenizer": "generator.encoder._layers.1._residuals.0._shortcut.weight",
    "dynamics_1": "generator.encoder.encoder_layers.0.1._residual.3.weight",
    "decoder": "neck.llm.model.layers.1.self_attn.q_proj.bias",
}


@pytest.mark.parametrize(("case", "name"), NAMES.items())
def test_a_wrong_tensor_is_named(names, tmp_path, case, name):
    drawn, path = state(names[case]), tmp_path / "weights.pth"
    changes = {
        rf"weights\.pth: holds no {name}": {n: t for n, t in drawn.items() if n != name},
        rf"weights\.pth: {name} is \(3,\), where the model has \(": drawn | {name: torch.zeros(3)},
        rf"weights\.pth: {name}s has no place in the model": drawn | {f"{name}s": torch.zeros(3)},
        rf"weights\.pth: {name} is torch\.int64": drawn | {name: drawn[name].long()},
    }
    for says, tensors in changes.items():
        with pytest.raises(CheckpointError, match=says) as error:
            fill(write(path, tensors), case)
        assert "\n" not in str(error.value)


def test_dynamics_of_another_horizon_do_not_fit(names, tmp_path):
    path = write(tmp_path / "ldm.pth", state(names["dynamics_2"]))
    assert horizon(path) == 2
    with pytest.raises(CheckpointError, match=r"is \(\d+,\), where the model has \(\d+,\)"):
        fill_dynamics(path=path, dynamics=dynamics(1))
    with pytest.raises(CheckpointError, match=r"holds no generator\.encoder\.act\.weight"):
        horizon(write(path, state(names["tokenizer"])))


def test_half_precision_and_safetensors_are_read(names, tmp_path):
    halves = {name: tensor.half() for name, tensor in state(names["tokenizer"]).items()}
    save_file(halves, tmp_path / "fsq.safetensors")
    from_pth, from_safetensors = tokenizer(), tokenizer()
    fill_tokenizer(path=write(tmp_path / "fsq.pth", halves), tokenizer=from_pth)
    fill_tokenizer(path=tmp_path / "fsq.safetensors", tokenizer=from_safetensors)
    for a, b in zip(from_pth.parameters(), from_safetensors.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


class Runs:
    def __reduce__(self):
        return Path.mkdir, (Path("made"),)


class HistoryBuffer:
    """As mmengine writes its logs: an object of its own with arrays in it."""

    def __init__(self):
        self._log_history = np.arange(3.0)


HistoryBuffer.__module__ = "mmengine.logging.history_buffer"


def test_logs_of_mmengine_are_passed_over(tmp_path, monkeypatch):
    module = types.ModuleType(HistoryBuffer.__module__)
    module.HistoryBuffer = HistoryBuffer
    monkeypatch.setitem(sys.modules, HistoryBuffer.__module__, module)
    monkeypatch.setitem(sys.modules, "mmengine", types.ModuleType("mmengine"))
    weights = nn.Linear(2, 3).state_dict()
    logs = {"log_scalars": {"train/loss": HistoryBuffer(), "lr": np.float64(3.0)}}
    torch.save({"state_dict": weights, "message_hub": logs}, tmp_path / "iter_1.pth")
    monkeypatch.delitem(sys.modules, HistoryBuffer.__module__)
    monkeypatch.delitem(sys.modules, "mmengine")
    found = read(tmp_path / "iter_1.pth")
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert set(found) == set(weights)


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "message_hub": Runs()}, "weights.pth")
    with pytest.raises(Refused, match=r"weights\.pth: refused") as error:
        read(Path("weights.pth"))
    assert "\n" not in str(error.value)
    assert not Path("made").exists()


def test_files_that_hold_no_weights_are_told(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read(path)
    torch.save({"state_dict": {"a": 3}}, path)
    with pytest.raises(CheckpointError, match="holds no state_dict of tensors"):
        read(path)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(CheckpointError, match="holds no state_dict of tensors"):
        read(path)
    write(path, {"a": torch.zeros(300)})
    whole = path.read_bytes()
    for at in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at])
        with pytest.raises(CheckpointError, match=r"not a readable checkpoint|refused"):
            read(path)
    (tmp_path / "weights.safetensors").write_bytes(b"3")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read(tmp_path / "weights.safetensors")
