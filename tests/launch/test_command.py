"""A command line is taken apart, composed and checked; every mistake is one line that names its place."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.command import alternatives, expand, parse, read_value
from launch.compose import compose
from launch.main import main
from launch.overrides import overlay
from launch.problems import CommandError, did_you_mean

ROOT = Path(__file__).resolve().parents[2]


def composed(*tokens: str) -> dict:
    stages, problems = compose(parse(["recipe=savp", *tokens]))
    assert problems == []
    return stages["train"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("true", True),
        ("null", None),
        ("a=b", "a=b"),
        ("[1, 2]", [1, 2]),
        ("'1,2'", "1,2"),
    ],
)
def test_values_read_as_yaml(text, value):
    assert read_value(text) == value


def test_a_comma_sweeps_unless_it_is_inside_brackets_or_quotes():
    assert alternatives("0,1,2") == ["0", "1", "2"]
    assert alternatives("[0,1]") == ["[0,1]"]
    assert alternatives("[0,1],[2]") == ["[0,1]", "[2]"]
    assert alternatives("'a,b'") == ["'a,b'"]


def test_a_sweep_is_every_combination_in_order():
    runs = expand(parse(["recipe=savp", "seed=0,1", "optimizer.lr=1e-4,3e-4"]))
    assert [chosen for chosen, _ in runs] == [
        {"seed": s, "optimizer.lr": lr} for s in "01" for lr in ("1e-4", "3e-4")
    ]
    assert all(len(expand(command)) == 1 for _, command in runs)


def test_a_bare_name_replaces_the_whole_node_and_drops_its_old_keys():
    node = composed("model.generator.transformation=flow")["model"]["generator"]["transformation"]
    assert node["_component_"].endswith("Flow")
    assert "kernel_size" not in node


def test_a_swap_comes_before_values_inside_it_whatever_their_order():
    data = composed("data.root=clips", "data=videos")["data"]
    assert data["root"] == "clips"
    assert data["_component_"] == "datamodules.videos.Videos"


def test_later_overlays_win_and_the_command_line_wins_over_all():
    assert composed("variant=vae")["model"]["kl_weight"]["end"] == 0.001
    assert composed("variant=vae", "model.kl_weight.end=7")["model"]["kl_weight"]["end"] == 7
    assert composed("size=paper", "variant=master")["model"]["kl_weight"]["end"] == 1.0


def test_overlay_replaces_a_node_when_the_component_differs_and_merges_otherwise():
    config = {"part": {"_component_": "a.A", "x": 1, "y": 2}}
    overlay(config, {"part": {"_component_": "a.A", "x": 3}})
    assert config["part"] == {"_component_": "a.A", "x": 3, "y": 2}
    overlay(config, {"part": {"_component_": "b.B", "z": 1}})
    assert config["part"] == {"_component_": "b.B", "z": 1}


def test_a_tilde_deletes():
    assert "rollouts" not in composed("~callbacks.rollouts")["callbacks"]


def test_callbacks_take_new_members_by_name():
    assert composed("callbacks.ema=ema")["callbacks"]["ema"]["_component_"].endswith("AveragedWeights")


def test_near_names_are_suggested_and_far_ones_are_not():
    known = ["trainer.max_steps", "optimizer.lr", "seed"]
    assert "trainer.max_steps" in did_you_mean("trianer.max_steps", known)
    assert "optimizer.lr" in did_you_mean("lr", known)
    assert did_you_mean("qwertyuiop", known) == ""


MISTAKES = {
    "trianer.max_steps=3": "did you mean trainer.max_steps?",
    "trainer.max_stepz=3": "did you mean max_steps?",
    "trainer.max_steps=-1": "expected a positive integer",
    "optimizer.lr=fast": "expected a number, got 'fast'",
    "optimizer=adm": "did you mean adam?",
    "model.generator.transformation=flw": "did you mean flow?; there are: cdna, dna, flow",
    "model.generator.transformation=lsgan": "no such transformation",
    "model.generator.chanels=3": "did you mean channels?",
    "model.reconstruction=l3": "expected one of l1, l2, got 'l3'",
    "model.optimizer.lr=1": "set optimizer.lr instead",
    "model.prior_discriminator=lsgan": "no such discriminator",
    "clip=3": "a group of keys, not a value",
    "clip.height=None": "write null for nothing",
    "callbacks.ema=emma": "no such callback; did you mean ema?",
    "data=video": "no such data source; did you mean videos?",
    "data.num_frames=[1": "not a value",
    "seed=zero": "expected an integer",
    "stage=trane": "no such stage; did you mean train?",
    "size=huge": "no such size",
    "variant=vea": "no such variant; did you mean vae?",
    "~foo.bar": "nothing to delete here",
    "--help": "did you mean help=true?",
    "model": "expected key=value",
}


@pytest.mark.parametrize("token", MISTAKES)
def test_a_mistake_is_named_and_nothing_starts(token, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["recipe=savp", token]) == 2
    report = capsys.readouterr().err
    assert MISTAKES[token] in report
    assert "nothing was started" in report
    assert "Traceback" not in report
    assert list(tmp_path.iterdir()) == []


def test_all_mistakes_are_reported_together(capsys):
    tokens = ["trianer.max_steps=3", "optimizer.lr=fast", "model.generator.transformation=flw", "data=videos"]
    assert main(["recipe=savp", *tokens]) == 2
    report = capsys.readouterr().err
    assert report.startswith("train.py: 4 problems")
    for place in ("trianer.max_steps", "optimizer.lr", "model.generator.transformation=flw", "data.root"):
        assert place in report


def test_an_unknown_recipe_lists_those_there_are(capsys):
    assert main(["recipe=svp"]) == 2
    assert "did you mean savp?" in capsys.readouterr().err


def test_help_gives_every_key_a_meaning(capsys):
    assert main(["recipe=savp", "help=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("trainer:") for line in lines)
    assert any("max_steps" in line and "training steps" in line for line in lines)


def test_help_of_a_swapped_node_has_the_presets_meanings(capsys):
    assert main(["recipe=savp", "data=videos", "data.root=x", "help=true"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("root:"))
    assert "#" in line


def test_the_list_is_quick_and_imports_no_torch():
    code = "import sys, launch.main; launch.main.main([]); assert 'torch' not in sys.modules"
    started = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 1.0
    assert "savp" in run.stdout


def test_a_resume_of_nothing_is_refused(tmp_path, capsys):
    assert main([f"resume={tmp_path / 'nowhere'}"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert main([f"resume={tmp_path}"]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_command_errors_carry_each_problem_once():
    with pytest.raises(CommandError) as caught:
        parse(["a", "a", "b"])
    assert len(caught.value.problems) == 2
