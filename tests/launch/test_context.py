"""parallel.context: what processes that share rows make equals one process, and stops and goes on as ever."""

import shutil
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from checkpoints.own import read_checkpoint
from components.context_parallel import context_group
from launch.context import SharedRowsDDP, check_context
from launch.main import main
from launch.problems import CommandError
from tests.processes import finish, start
from tests.recipes.conftest import begun, configured
from tests.stress.kill_and_resume import differences

SMALL = [
    "stage=model", "model.decoder.num_layers=1", "model.decoder.dim=32", "model.decoder.num_heads=2",
    "model.decoder.hidden_dim=32", "tokenizer.channels=4", "loader.batch_size=4", "loader.val_clips=4",
    "trainer.max_steps=4", "trainer.val_check_interval=4", "callbacks.checkpoint.every=2",
    "callbacks.checkpoint.keep=9", "trainer.accelerator=cpu", "trainer.precision=64-true",
    "~callbacks.rollouts", "~callbacks.conversations",
]  # fmt: skip
TWO = ["trainer.devices=2", "parallel.context=2"]
OTHERS = {
    "two": TWO,
    "striped": [*TWO, "parallel.layout=striped"],
    "sharded": [*TWO, "trainer.strategy=fsdp", "trainer.precision=32-true"],  # it knows no double
}


TEXTS = [  # a stage, and one with longer rows
    "variant=text", "stages.longer=null", "data.needles=2", "data.asked=1", "model.row_length=128",
    *(word for word in SMALL if not word.startswith(("stage=", "tokenizer.", "~callbacks.rollouts"))),
]  # fmt: skip


def code_of(jobs: list[list[str]]) -> str:
    """All of the commands one after the other."""
    return (
        "import os, sys\nfrom launch.main import RUN_FOLDER, main\n"
        f"for job in {jobs!r}:\n    os.environ.pop(RUN_FOLDER, None)\n    assert main(job) == 0"
    )


def run(jobs: list[list[str]], processes: int, folder: Path) -> None:
    finish(start(["-c", code_of(jobs)], processes, cwd=folder), seconds=300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    command = [*begun("lwm"), *SMALL]
    jobs = [[*command, *words, f"run_dir={folder / name}"] for name, words in OTHERS.items()]
    run(jobs, 2, folder)
    assert main([*command, f"run_dir={folder / 'one'}"]) == 0
    again = {name: folder / f"{name}_again" for name in ("two", "one")}
    for copy in again.values():  # both go on from where two processes stood after two steps
        shutil.copytree(folder / "two", copy)
        for made in ("result.json", "checkpoints/step_00000004.ckpt"):
            (copy / "model" / made).unlink()
    run([[f"resume={again['two']}"]], 2, folder)
    assert main([f"resume={again['one']}", "trainer.devices=1", "parallel.context=1"]) == 0
    four = [*command, "trainer.devices=4", "parallel.context=2", "loader.batch_size=2"]
    run([[*four, f"run_dir={folder / 'four'}"]], 4, folder)
    return folder


def distance(runs: Path, one: str, other: str) -> float:
    weights = [load_file(runs / name / "model" / "model" / "model.safetensors") for name in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    return max(float((weights[0][key].double() - weights[1][key].double()).abs().max()) for key in weights[0])


@pytest.mark.parametrize("name", [*OTHERS, "four", "one_again"])
def test_shared_rows_train_as_whole_ones_do(runs, name):
    """After four steps of AdamW in double: layouts, shared weights, two groups, a change midway."""
    assert distance(runs, "one", name) < (2e-4 if name == "sharded" else 1e-9)


def test_a_run_goes_on_bit_for_bit(runs):
    last = [
        read_checkpoint(runs / name / "model" / "checkpoints" / "step_00000004.ckpt")
        for name in ("two", "two_again")
    ]
    assert differences(*last) == []
    assert distance(runs, "two", "two_again") == 0


def test_nothing_is_shared_once_a_run_has_ended(runs):
    assert context_group().size == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["trainer.devices=3", "parallel.context=2"],
            "3 devices (trainer.devices, .num_nodes) are no multiple",
        ),
        (["parallel.context=0"], "0 processes a row; give at least 1"),
        ([*TWO, "model.decoder.attention=blockwise"], "model.decoder.attention=ring"),
        ([*TWO, "trainer.strategy=deepspeed"], "deepspeed shares no rows"),
    ],
)
def test_mistakes_are_told_before_anything_starts(words, told):
    with pytest.raises(CommandError) as caught:
        check_context(configured("lwm", *words))
    assert told in caught.value.report("train.py")


@pytest.mark.parametrize("words", [[], TWO], ids=["alone", "two"])
def test_a_run_killed_in_its_second_stage_goes_on_in_it_bit_for_bit(tmp_path, words):
    processes = 2 if words else 1
    command = ["recipe=lwm", *TEXTS, *words]
    run([[*command, f"run_dir={tmp_path / 'whole'}"]], processes, tmp_path)
    killed = start(["-c", code_of([[*command, f"run_dir={tmp_path / 'killed'}"]])], processes, cwd=tmp_path)
    folder, until = tmp_path / "killed" / "long" / "checkpoints", time.monotonic() + 120
    while not (folder / "step_00000002.ckpt").is_file() and time.monotonic() < until:
        time.sleep(0.01)
    for process in killed:
        process.kill()
        process.communicate()
    first = tmp_path / "killed" / "model" / "checkpoints" / "step_00000004.ckpt"
    written = first.stat().st_mtime_ns
    for left in folder.glob("step_00000004.ckpt"):  # it was quicker than the kill
        left.unlink()
        (tmp_path / "killed" / "long" / "result.json").unlink(missing_ok=True)
    run([[f"resume={tmp_path / 'killed'}"]], processes, tmp_path)
    assert first.stat().st_mtime_ns == written  # the first stage was not trained again
    ends = [
        read_checkpoint(tmp_path / name / "long" / "checkpoints" / "step_00000004.ckpt")
        for name in ("whole", "killed")
    ]
    assert differences(*ends) == []


def test_places_count_groups_and_not_processes():
    strategy = SharedRowsDDP(context=2, layout="zigzag")
    strategy.cluster_environment = type(
        "Cluster", (), {"world_size": lambda s: 8, "global_rank": lambda s: 5}
    )()
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 4, "rank": 2}
