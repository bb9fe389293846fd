"""Exports travel over the hub, and what comes from there builds nothing but our components."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from checkpoints import hub
from checkpoints.own import CheckpointError, Refused, export, find_weights, read_weights
from checkpoints.trusted import strange_component
from recipes.world_model import WorldModel
from tests.recipes.conftest import built


@pytest.fixture
def client(monkeypatch, tmp_path):
    """A hub that is a folder."""
    shelf = tmp_path / "shelf"

    class Api:
        def create_repo(self, name: str, exist_ok: bool) -> None:
            (shelf / name).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> None:
            for file in allow_patterns:
                shutil.copy(folder_path / file, shelf / repo_id / file)

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        if not (shelf / name).is_dir():
            raise ConnectionError("no route\nto the hub")
        return str(shelf / name)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return shelf


def test_pushed_and_pulled_is_the_same_model(client, tmp_path, capsys):
    model, _ = built("savp")
    folder = export(model, dict(model.hparams), tmp_path / "model")
    assert hub.main(["push", str(folder), "someone/savp"]) == 0
    assert "ckpt=hf://someone/savp" in capsys.readouterr().out
    for address in ("hf://someone/savp", Path("hf://someone/savp")):
        pulled = WorldModel.load(address)
        state = pulled.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_offline_is_one_line(client):
    with pytest.raises(CheckpointError) as caught:
        find_weights(Path("hf://someone/nothing"))
    assert str(caught.value) == (
        "hf://someone/nothing: cannot be downloaded (ConnectionError: no route to the hub)"
    )
    with pytest.raises(CheckpointError, match="expected hf://owner/name"):
        find_weights(Path("hf://nobody"))


def test_only_exports_travel(client, tmp_path, capsys):
    assert hub.main(["push", str(tmp_path), "someone/x"]) == 1
    assert "holds no config.json" in capsys.readouterr().err
    (client / "someone/other").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        find_weights(Path("hf://someone/other"))
    assert hub.main(["pull"]) == 2


def test_a_config_that_names_strangers_is_refused(tmp_path):
    model, _ = built("savp")
    folder = export(model, dict(model.hparams), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["prior"] = {
        "_component_": "subprocess.Popen",
        "args": ["touch", str(tmp_path / "executed")],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Refused, match=r"names subprocess\.Popen"):
        read_weights(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["os.system", "torch.hub.load", "torch.nn.functional.relu", "pathlib.Path", "x"]
)
def test_strangers(name):
    assert strange_component({"a": [{"_component_": name}]}) == name


def test_own_components_and_layers_are_no_strangers(tmp_path, monkeypatch):
    (tmp_path / "my_own_parts.py").write_text("class Part: ...\nfrom subprocess import Popen\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (
        "torch.nn.Linear",
        "torch.optim.Adam",
        "components.priors.fixed.FixedPrior",
        "my_own_parts.Part",
    ):
        assert strange_component({"_component_": name}) is None
    assert strange_component({"_component_": "my_own_parts.Popen"}) is not None
