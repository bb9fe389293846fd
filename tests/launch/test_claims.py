"""Claims are checked down to every override and every name before anything starts."""

import json

import pytest

from launch.claims import reading as claims
from launch.presets import ROOT, yaml_load
from launch.reproduce import main
from tests.launch.toy_claim import TOY


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes claims of a folder that stands for savp's."""
    monkeypatch.setattr(claims, "recipe_folders", lambda: {"savp": tmp_path})
    return lambda **found: (tmp_path / "claims.yaml").write_text(json.dumps(found))  # JSON is YAML


MISTAKES = {
    "toy.expects": ({"expects": "x"}, "did you mean expect?"),
    "toy.minutes": ({"minutes": "few"}, "expected a number, got 'few'"),
    "toy.variants.good: optimizer.lrr": (
        {"variants": {"good": {"optimizer.lrr": 1}, "bad": {}}},
        "did you mean",
    ),
    "toy.variants.good: data": ({"variants": {"good": {"data": "frok"}, "bad": {}}}, "did you mean fork?"),
    "toy.variants.good.seed": ({"variants": {"good": {"seed": 1}, "bad": {}}}, "is set by reproduce.py"),
    "toy.record: episods": ({"record": {"out": "x", "episods": 3}}, "did you mean episodes?"),
    "toy.after.good": ({"after": {"good": "best"}}, "no such variant: best"),
    "toy.after.bad": ({"after": {"bad": "good", "good": "bad"}}, "goes in a circle"),
    "toy.measure": ({"measure": {"_component_": "evaluation.nothing.At"}}, "no such component"),
    "toy.measure.clip": ({"measure": TOY["measure"] | {"clip": 1}}, "did you mean clips?"),
    "toy.expect": ({"expect": "good.score > god.score"}, "did you mean good.score?"),
    "toy": ({"expect": "good.score =="}, "not an expression"),
}


@pytest.mark.parametrize("place", MISTAKES)
def test_a_mistake_in_a_claim_is_named_and_nothing_starts(place, write, tmp_path, capsys):
    changes, told = MISTAKES[place]
    write(toy=TOY | changes)
    assert main(["recipe=savp", f"run_dir={tmp_path / 'runs'}"]) == 2
    report = capsys.readouterr().err
    assert told in report
    assert f"  {place}" in report
    assert "Traceback" not in report
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["recipe=svp"], "no such recipe; did you mean savp?"),
        (["recipe=savp", "claim=tyo"], "no such claim; did you mean toy?"),
        (["recipe=savp", "seeds=0"], "expected 1 or more"),
        (["recipe=savp", "seed=3"], "did you mean seeds?"),
        (["claim=toy"], "needs a value"),
    ],
)
def test_a_mistake_in_the_command_is_named(tokens, told, write, capsys):
    write(toy=TOY)
    assert main(tokens) == 2
    report = capsys.readouterr().err
    assert told in report
    assert report.startswith("reproduce.py: 1 problem, nothing was started")


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("recipes/*/claims.yaml")), ids=lambda file: file.parent.name
)
def test_the_claims_of_every_recipe_can_be_run(file):
    found = claims.read_claims(file.parent.name)
    assert [claim.name for claim in found] == list(yaml_load(file))
    assert all(claim.minutes <= 30 for claim in found)
    assert sum(claim.minutes for claim in found) <= 90
