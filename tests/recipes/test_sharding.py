"""trainer.strategy=fsdp: what two processes with shares make equals one, and goes on in any other number."""

import errno
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from checkpoints.own import CheckpointError, Refused, check_whole, find_weights, load_model, read_checkpoint
from checkpoints.sharded import write
from checkpoints.starting_weights import newest_whole
from launch.fsdp import FSDP
from recipes.stage import Stage
from tests.processes import finish
from tests.recipes.sharded_runs import main, start
from tests.stress.kill_and_resume import differences

SHARED = {"trainer.strategy": "fsdp"}
TWO = {**SHARED, "trainer.devices": 2, "loader.batch_size": 2}
LORA = {"model.finetuned": True}
SGD = {"model.optimizer": {"_component_": "torch.optim.SGD", "lr": 0.1}}  # Adam blows rounding up
HALF = SGD | {"trainer.precision": "bf16-mixed"}
HAS_PEFT = importlib.util.find_spec("peft") is not None  # else no low-rank runs
PARTS = {"loader.batch_size": 2, "trainer.accumulate_grad_batches": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """All runs of this file, some of which go on where others stood after two of four steps."""
    folder = tmp_path_factory.mktemp("runs")
    middle = {name: folder / name / "checkpoints" / "step_00000002.ckpt" for name in ("one", "two")}
    alone = {
        "one": (None, {}), "in_parts": (None, PARTS), "one_half": (None, HALF),
        "one_whole": (None, SGD),
        "one_after_two": (middle["two"], {}), "one_share_after_two": (middle["two"], SHARED),
    }  # fmt: skip
    together = {
        "two": (None, TWO), "two_again": (middle["two"], TWO), "two_after_one": (middle["one"], TWO),
        "two_half": (None, TWO | HALF),
    }  # fmt: skip
    if HAS_PEFT:
        alone["one_lora"], together["two_lora"] = (None, LORA), (None, TWO | LORA)
    jobs = [(folder / name, *rest) for name, rest in together.items()]
    begun = start(jobs, 2)
    try:
        main([(folder / name, *rest) for name, rest in alone.items()])
        finish(begun, seconds=240)
    finally:
        for process in begun:
            process.kill()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return folder


def exported(runs: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(runs / name / "model" / "model.safetensors")


def last(runs: Path, name: str, step: int = 4) -> dict[str, Any]:
    return read_checkpoint(runs / name / "checkpoints" / f"step_{step:08d}.ckpt")


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    assert all(one[name].shape == other[name].shape for name in one)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("in_parts", "one"),
        ("two", "one"),
        pytest.param(
            "two_lora", "one_lora", marks=pytest.mark.skipif(not HAS_PEFT, reason="peft is not installed")
        ),
    ],
)
def test_shares_and_accumulated_batches_equal_one_process_with_the_whole_batch(runs, name, like):
    """After four steps of AdamW with clipped gradients; what is exported are averages of the weights."""
    assert distance(exported(runs, name), exported(runs, like)) < 2e-6
    steps = 8 if name == "in_parts" else 4
    trained = last(runs, name, steps)["current_model_state"], last(runs, like)["current_model_state"]
    assert distance(*trained) < 2e-6
    assert distance(trained[0], {k: exported(runs, name)[k] for k in trained[0]}) > 1e-3


def test_under_bf16_shares_travel_in_half_and_weights_stay_whole(runs):
    one, two = exported(runs, "one_half"), exported(runs, "two_half")
    assert {tensor.dtype for tensor in two.values()} == {torch.float32}
    assert distance(one, two) < 2e-3
    assert distance(one, exported(runs, "one_whole")) > 1e-5  # it was in half


def test_resume_is_bit_for_bit(runs):
    assert differences(last(runs, "two"), last(runs, "two_again")) == []
    assert differences(exported(runs, "two"), exported(runs, "two_again")) == []


@pytest.mark.parametrize("name", ["one_after_two", "one_share_after_two", "two_after_one"])
def test_a_run_goes_on_in_another_number_of_processes_or_without_shares(runs, name):
    went_on, whole = last(runs, name), last(runs, "one")
    assert distance(went_on["current_model_state"], whole["current_model_state"]) < 2e-6
    assert distance(exported(runs, name), exported(runs, "one")) < 2e-6
    for state, like in zip(went_on["optimizer_states"], whole["optimizer_states"], strict=True):
        for number, values in like["state"].items():
            assert distance(state["state"][number], values) < 2e-6


def test_a_checkpoint_has_what_one_of_a_single_process_has(runs):
    """Whole tensors, entry by entry; only numbers of processes and machine differ."""
    shared, single = last(runs, "two", 2), last(runs, "one", 2)
    assert shared.keys() == single.keys()
    assert shared["loops"] == single["loops"]
    assert len(shared["random_states"]) == 2
    assert shared["hyper_parameters"]["trainer"]["strategy"] == "fsdp"


def test_a_model_is_built_from_shares(runs):
    folder = runs / "two"
    checkpoint = folder / "checkpoints" / "step_00000004.ckpt"
    assert find_weights(checkpoint) == checkpoint
    model = load_model(checkpoint)
    assert distance(dict(model.state_dict()), exported(runs, "two")) == 0
    assert distance(dict(load_model(folder).state_dict()), exported(runs, "two")) == 0


@pytest.fixture
def stopped(runs, tmp_path) -> Path:
    shutil.copytree(runs / "two" / "checkpoints", tmp_path / "checkpoints")
    return tmp_path


@pytest.mark.parametrize("harm", ["shorter", "missing", "no_meta", "half_meta"])
def test_a_folder_cut_short_is_passed_over(stopped, harm):
    newest = stopped / "checkpoints" / "step_00000004.ckpt"
    share = next(newest.glob("*.safetensors"))
    if harm == "shorter":
        share.write_bytes(share.read_bytes()[:-1])
    elif harm == "missing":
        share.unlink()
    elif harm == "no_meta":
        (newest / "meta.pt").unlink()
    else:
        (newest / "meta.pt").write_bytes((newest / "meta.pt").read_bytes()[:1000])
    with pytest.raises(CheckpointError):
        check_whole(newest)
    said: list[str] = []
    assert newest_whole(stopped, said.append) == stopped / "checkpoints" / "step_00000002.ckpt"
    assert "trying the one before" in said[0]


@pytest.fixture
def shared(tmp_path):
    """Three ones, sharded in a group of one process."""
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield distribute_tensor(torch.ones(3), init_device_mesh("cpu", (1,)), [Shard(0)])
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("place", ["shares", "meta"])
def test_a_full_disk_is_an_error_of_the_disk(shared, tmp_path, monkeypatch, place):
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    where = (HuggingFaceStorageWriter, "write_data") if place == "shares" else (torch, "save")
    monkeypatch.setattr(*where, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write({"state_dict": {"weight": shared}}, tmp_path / "step")
    assert caught.value.errno == errno.ENOSPC


def test_containers_are_kept_as_they_are(shared, tmp_path):
    inside = {"list": [1, shared, {"x": (2.0, None)}], "empty": {}, 3: torch.zeros(2), "name": "n"}
    write({"state": inside, "other": 1}, tmp_path / "step")
    whole = inside | {"list": [1, torch.ones(3), {"x": (2.0, None)}]}
    assert differences(read_checkpoint(tmp_path / "step"), {"state": whole, "other": 1}) == []
    assert read_checkpoint(tmp_path / "step", parts=("other",)) == {"other": 1}


@pytest.mark.parametrize(
    ("stage", "told"),
    [("by_hand", "Odd does not say which calls use its weights"), ("own", "Odd.scale is in no part of it")],
)
def test_a_stage_that_cannot_be_shared_out_says_so(stage, told):
    class Odd(Stage):
        automatic_optimization = stage != "by_hand"

    odd = Odd(seed=0)
    if stage == "own":
        odd.scale = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=told):
        FSDP.of(odd)


def test_a_planted_object_is_refused(stopped, tmp_path):
    newest, touched = stopped / "checkpoints" / "step_00000004.ckpt", tmp_path / "executed"

    class Planted:
        def __reduce__(self):
            return (Path.touch, (touched,))

    meta = torch.load(newest / "meta.pt", weights_only=True)
    torch.save(meta | {"planted": Planted()}, newest / "meta.pt")
    for look in (check_whole, read_checkpoint):
        with pytest.raises(Refused):
            look(newest)
    assert not touched.exists()
