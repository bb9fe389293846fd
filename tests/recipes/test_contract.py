"""What every recipe promises; a new recipe is found by its folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensorMode

from checkpoints.build import build, is_node
from checkpoints.own import export, stages_in
from launch.compose import recipe_folders
from launch.main import main
from launch.overrides import find, paths
from launch.presets import kind_of_component
from launch.problems import CommandError
from launch.run import prepare
from recipes.world_model import WorldModel
from tests.recipes.conftest import begun, built, configured, take_step

LARGEST = 100_000_000  # weights of a model that takes a step here
ROOT = Path(__file__).resolve().parents[2]
QUIET = ["~callbacks.rollouts", "~callbacks.throughput"]


def test_rollout_yields_frames_in_range(recipe, generator):
    model, clip = built(recipe)
    context, _ = model.split(clip)
    pieces = list(model.eval().rollout(context, 5, generator=generator))
    frames = torch.cat(pieces, dim=1)
    assert frames.shape == (2, 5, *clip["video"].shape[2:])
    assert frames.dtype == torch.float32
    assert 0 <= frames.min() <= frames.max() <= 1
    assert torch.isfinite(frames).all()


def test_rollout_streams(recipe, generator):
    """The first piece comes before the last is made: asking for one of many costs no more than one of one."""
    model, clip = built(recipe)
    context, _ = model.split(clip)
    futures = model.eval().rollout(context, 10_000, generator=generator)
    assert next(futures).shape[0] == 2
    futures.close()


def test_rollout_never_looks_at_the_future(recipe):
    model, clip = built(recipe)
    changed = clip | {"video": clip["video"].clone()}
    changed["video"][:, model.context_frames :] = 255 - changed["video"][:, model.context_frames :]
    if "state" in clip:
        changed["state"] = clip["state"].clone()
        changed["state"][:, model.context_frames :] += 1
    futures = [
        model.eval().predict(model.split(c)[0], 4, generator=torch.Generator().manual_seed(1))
        for c in (clip, changed)
    ]
    assert torch.equal(*futures)


def test_same_generator_same_future(recipe):
    model, clip = built(recipe)
    context, _ = model.split(clip)
    futures = [model.eval().predict(context, 3, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*futures)


def test_export_loads_with_nothing_else(recipe, tmp_path, generator):
    model, clip = built(recipe)
    take_step(model, clip)
    folder = export(model, dict(model.hparams), tmp_path / "model")
    loaded = WorldModel.load(folder)
    context, _ = model.split(clip)
    with_own = model.eval().predict(context, 3, generator=generator)
    assert torch.equal(with_own, loaded.predict(context, 3, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module", params=sorted(recipe_folders()))
def finished(request, tmp_path_factory):
    """A finished run of four steps with a checkpoint after two."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    tokens = [*QUIET, "callbacks.checkpoint.every=2", "callbacks.checkpoint.keep=9", f"run_dir={run}"]
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(run.parent)  # what runs keep for others is kept here
        assert main([*begun(request.param), *tokens]) == 0
    return request.param, run


def weights_with(recipe: str, change: str) -> int:
    """How many weights the model would have, without making them."""
    resolved = prepare(configured(recipe, change))
    with FakeTensorMode(allow_non_fake_inputs=True):
        return sum(weight.numel() for weight in build(resolved["model"]).parameters())


def trained_in(run: Path) -> list[Path]:
    """The stages of a finished run that train something."""
    return [stage for stage in stages_in(run) if (stage / "model").is_dir()]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """What every stage of a run has exported."""
    return {
        f"{stage.name}/{name}": tensor
        for stage in trained_in(run)
        for name, tensor in load_file(stage / "model" / "model.safetensors").items()
    }


def test_resume_is_bit_for_bit(finished, tmp_path, monkeypatch):
    """Stages that stopped after step 2 and went on end with the weights of those that did not stop."""
    _, run = finished
    monkeypatch.chdir(tmp_path)
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    for stage in trained_in(stopped):
        (stage / "result.json").unlink()
        shutil.rmtree(stage / "model")
        (stage / "checkpoints" / "step_00000004.ckpt").unlink()
    assert main([f"resume={stopped}"]) == 0
    whole, resumed = weights_of(run), weights_of(stopped)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_finished_run_is_not_trained_again(finished, capsys):
    _, run = finished
    assert main([f"resume={run}"]) == 0
    assert "finished before, skipped" in capsys.readouterr().out


def test_two_processes_equal_one_on_the_same_global_batch(recipe, tmp_path):
    """By plain gradient descent: Adam would blow rounding up where gradients vanish."""
    weights = []
    for name, devices, size in (("one", 1, 4), ("two", 2, 2)):
        tokens = [
            *begun(recipe), *QUIET, f"run_dir={tmp_path / name}",
            f"loader.batch_size={size}", "loader.val_clips=4",
            "trainer.max_steps=2", "optimizer=sgd", "optimizer.lr=1e-3", "optimizer.momentum=0.0",
            "trainer.accelerator=cpu", f"trainer.devices={devices}",
            f"trainer.strategy={'auto' if devices == 1 else 'ddp_find_unused_parameters_true'}",
        ]  # fmt: skip
        run = subprocess.run(
            [sys.executable, ROOT / "train.py", *tokens],
            cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        weights.append(weights_of(tmp_path / name))
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, rtol=1e-4, atol=1e-6, msg=key)


def legal_swaps() -> list[tuple[str, str, str]]:
    """Every (recipe, key, name) that the check lets pass, but for data sources, callbacks and what stands."""
    swaps = []
    for recipe in sorted(recipe_folders()):
        raw = configured(recipe)
        for key in paths(raw):
            node = find(raw, key)
            kind = kind_of_component(node["_component_"]) if is_node(node) else None
            if kind is None or key.split(".")[0] in ("data", "callbacks", "loader", "trainer"):
                continue
            for name, preset in kind.nodes.items():
                if preset["_component_"] != node["_component_"] or preset.keys() != node.keys():
                    swaps.append((recipe, key, name))
    return swaps


@pytest.mark.parametrize(("recipe_name", "key", "name"), legal_swaps())
def test_every_legal_swap_takes_a_training_step(recipe_name, key, name):
    try:
        if key in ("tokenizer", "model.backbone") and weights_with(recipe_name, f"{key}={name}") > LARGEST:
            pytest.skip("a model of published size")
        model, clip = built(recipe_name, f"{key}={name}")
    except CommandError as error:
        pytest.skip(f"not legal here: {error}")
    except ValueError as error:
        if "pip install" not in str(error):
            raise
        pytest.skip(str(error))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    take_step(model, clip)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values() if v.is_floating_point())
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
