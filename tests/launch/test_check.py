"""Values against annotations, and the state that survives a stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from callbacks.random_state import random_state, set_random_state
from checkpoints.build import build, wants_factory
from checkpoints.own import CheckpointError, load_state, read_checkpoint
from components.randomness import ClipRandom
from launch.check import describe, fits
from launch.cost import count_step
from launch.references import resolve
from tests.recipes.conftest import built


@pytest.mark.parametrize(
    ("value", "annotation", "right"),
    [
        (1, int, True), (True, int, False), (1.0, int, False), (1, float, True), ("1", float, False),
        (None, int | None, True), ("None", int | None, False), ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False), ([1, 2], list[int], True), ([1, "2"], list[int], False),
        ([0.5, 0.9], tuple[float, float], True), ([0.5], tuple[float, float], False),
        ([1, 2, 3], tuple[int, ...], True), ("x", Path, True), (3, Any, True),
        ({"a": 1}, dict[str, int], True),
    ],
)  # fmt: skip
def test_fits(value, annotation, right):
    assert fits(value, annotation) is right


def test_describe_names_what_is_expected():
    assert describe(int | None) == "an integer or null"
    assert describe(Literal["l1", "l2"]) == "one of l1, l2"
    assert describe(list[int]) == "a list of integers"


def test_a_factory_annotation_makes_a_partial():
    annotation = Callable[..., torch.optim.Optimizer]
    assert wants_factory(annotation)
    assert wants_factory(annotation | None)
    partial = build({"_component_": "torch.optim.SGD", "lr": 0.5}, annotation)
    assert partial([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] == 0.5


def test_missing_values_and_dangling_references_are_named():
    _, problems = resolve({"a": "???", "b": 1})
    assert [problem.path for problem in problems] == ["a"]
    _, problems = resolve({"a": "${nowhere}"})
    assert "nowhere" in problems[0].message


def test_a_fraction_of_the_run():
    resolved, _ = resolve({"trainer": {"max_steps": 300}, "begin": "${fraction:0.6,${trainer.max_steps}}"})
    assert resolved["begin"] == 180


def test_counted_flops_agree_with_a_real_step():
    from components.flops import flop_counter
    from tests.recipes.conftest import take_step

    model, clip = built("savp")
    with flop_counter() as counter:
        take_step(model, clip)
    fresh, _ = built("savp")
    assert count_step(fresh, clip)[0] == counter.get_total_flops()


def test_random_states_survive_a_safe_load(tmp_path):
    import random

    import numpy as np

    torch.save({"random": random_state()}, tmp_path / "state.ckpt")

    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002

    first = draw()
    set_random_state(read_checkpoint(tmp_path / "state.ckpt")["random"])
    assert draw() == first


def test_a_planted_object_is_refused_in_one_line(tmp_path):
    class Planted:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"state_dict": Planted()}, tmp_path / "planted.ckpt")
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(tmp_path / "planted.ckpt")
    assert not (tmp_path / "executed").exists()


def test_a_truncated_checkpoint_is_named(tmp_path):
    torch.save({"x": torch.zeros(1000)}, tmp_path / "whole.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:900])
    with pytest.raises(CheckpointError, match="cut short"):
        read_checkpoint(tmp_path / "cut.ckpt")


def test_weights_that_do_not_fit_name_the_tensor(tmp_path):
    with pytest.raises(CheckpointError, match=r"tensor weight is \(2, 2\), the model has \(3, 2\)"):
        load_state(torch.nn.Linear(2, 3, bias=False), {"weight": torch.zeros(2, 2)}, tmp_path)


def test_noise_depends_on_the_clip_not_on_the_process():
    whole = ClipRandom(seed=1, step=5, first=0, size=4).normal(3)
    halves = [ClipRandom(seed=1, step=5, first=first, size=2).normal(3) for first in (0, 2)]
    assert torch.equal(whole, torch.cat(halves))
    assert not torch.equal(whole, ClipRandom(seed=1, step=6, first=0, size=4).normal(3))
