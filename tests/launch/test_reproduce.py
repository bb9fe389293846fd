"""Claims are run once, go on where they were stopped, and stay as they came out."""

import fcntl
import json
import os
import signal
import sys
import threading
import time

import pytest

from launch.claims import arms
from launch.claims import reading as claims
from launch.claims.results import BEGIN, END
from launch.claims.run_arms import LOCK
from launch.reproduce import main
from tests.launch.toy_claim import MEASURER, TOY, TRAINER


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A folder that stands for savp's, with fake trainings and measurements; call it with claims to write."""
    folder = tmp_path / "recipe"
    folder.mkdir()
    for name, code in (("trainer.py", TRAINER), ("measurer.py", MEASURER)):
        (tmp_path / name).write_text(code)
    monkeypatch.setattr(claims, "recipe_folders", lambda: {"savp": folder})
    trainer, measurer = str(tmp_path / "trainer.py"), str(tmp_path / "measurer.py")
    monkeypatch.setattr(arms, "train_command", lambda words: [sys.executable, trainer, *words])
    monkeypatch.setattr(
        arms,
        "measure_command",
        lambda run, node, out: [sys.executable, measurer, str(run), json.dumps(node), str(out)],
    )

    def write(**found):
        (folder / "claims.yaml").write_text(json.dumps(found))  # JSON is YAML
        return folder

    return write


def reproduce(tmp_path, *tokens):
    return main(["recipe=savp", f"run_dir={tmp_path / 'runs'}", *tokens])


def calls(tmp_path):
    file = tmp_path / "runs" / "savp" / "calls.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_a_claim_is_run_once_judged_and_written(recipe, tmp_path, capsys):
    folder = recipe(toy=TOY)
    (folder / "README.md").write_text(f"# Toy\n\n{BEGIN}\nold\n{END}\n\nmore\n")
    assert reproduce(tmp_path) == 0
    assert len(calls(tmp_path)) == 6
    record = json.loads((folder / "results.json").read_text())["toy"]
    assert (record["verdict"], record["seeds_that_show"], record["seeds"]) == ("shown", 3, 3)
    assert record["mean"]["good"]["score"] == 11
    assert record["spread"]["good"]["score"] == 1  # of 10, 11, 12
    assert record["mean"]["bad"]["cost"] == [[1, 5], [2, 10], [3, 15]]
    assert record["command"] == "python reproduce.py recipe=savp seeds=3"
    assert set(record["versions"]) >= {"python", "torch", "commit"}
    readme = (folder / "README.md").read_text()
    assert readme.startswith(f"# Toy\n\n{BEGIN}\n| claim |")
    assert readme.endswith(f"{END}\n\nmore\n")
    assert "old" not in readme
    assert "| good | 11 ± 1 |" in readme
    assert "**toy**: Good is better than bad." in readme
    assert str(tmp_path) not in readme + json.dumps(record)
    assert "toy: shown, in 3 of 3 seeds" in capsys.readouterr().out

    assert reproduce(tmp_path) == 0
    assert len(calls(tmp_path)) == 6  # nothing was run again
    assert (folder / "README.md").read_text() == readme.replace("old", "")


def test_a_failed_claim_stays_and_one_claim_leaves_the_others(recipe, tmp_path):
    folder = recipe(toy=TOY, wrong=TOY | {"expect": "bad.score > good.score"})
    assert reproduce(tmp_path, "seeds=1") == 0
    assert len(calls(tmp_path)) == 2  # both claims share their arms
    assert json.loads((folder / "results.json").read_text())["wrong"]["verdict"] == "failed"
    assert reproduce(tmp_path, "claim=toy", "seeds=2") == 0
    records = json.loads((folder / "results.json").read_text())
    assert list(records) == ["toy", "wrong"]
    assert (records["toy"]["seeds"], records["wrong"]["seeds"]) == (2, 1)
    readme = (folder / "README.md").read_text()
    assert f"## Claims\n\n{BEGIN}" in readme  # there was no place for it yet
    assert "| failed | 0 of 1 |" in readme


def test_a_changed_claim_is_run_anew(recipe, tmp_path):
    recipe(toy=TOY)
    assert reproduce(tmp_path, "seeds=1") == 0
    recipe(toy=TOY | {"variants": TOY["variants"] | {"good": {"optimizer.lr": 0.003}}})
    assert reproduce(tmp_path, "seeds=1") == 0
    assert len(calls(tmp_path)) == 3  # bad as before, good once more


def test_an_arm_starts_from_anothers_weights_of_the_same_seed(recipe, tmp_path):
    recipe(toy=TOY | {"after": {"good": "bad"}})
    assert reproduce(tmp_path, "seeds=2") == 0
    asked = calls(tmp_path)
    for seed in (0, 1):
        good = next(i for i, call in enumerate(asked) if f"_good_seed{seed}_" in call)
        bad = next(
            i for i, call in enumerate(asked) if f"run_dir={tmp_path}/runs/savp/toy_bad_seed{seed}_" in call
        )
        assert bad < good
        assert f"weights={asked[bad].partition('run_dir=')[2]} " in asked[good]


def test_a_broken_arm_does_not_stop_the_others(recipe, tmp_path, capsys):
    variants = {"good": {}, "broken": {"optimizer.lr": 0.5}, "next": {"optimizer.lr": 0.25}}
    folder = recipe(toy=TOY | {"variants": variants, "after": {"next": "broken"}, "expect": "good.score > 0"})
    assert reproduce(tmp_path, "seeds=1") == 1
    record = json.loads((folder / "results.json").read_text())["toy"]
    assert record["verdict"] == "no result"
    assert "the disk is full" in record["failures"][0]
    assert "which has no result" in record["failures"][1]
    assert str(tmp_path) not in json.dumps(record)
    assert any("_good_" in call for call in calls(tmp_path))
    assert "| no result |" in (folder / "README.md").read_text()


def test_stopped_it_goes_on_where_it_was(recipe, tmp_path, capsys):
    recipe(
        toy=TOY
        | {"variants": {"slow": {"optimizer.lr": 0.002}, "good": {}}, "expect": "good.score > slow.score"}
    )

    def interrupt():
        while not list(tmp_path.glob("runs/savp/*slow*/begun")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert reproduce(tmp_path, "seeds=1") == 130
    assert "continue:  python reproduce.py recipe=savp" in capsys.readouterr().out
    assert list(tmp_path.glob("runs/savp/*slow*/train/checkpoints/step_00000001.ckpt"))
    assert reproduce(tmp_path, "seeds=1") == 0
    slow = [call for call in calls(tmp_path) if "slow" in call]
    assert len(slow) == 2
    assert slow[1].startswith("resume=")
    assert len([call for call in calls(tmp_path) if "good" in call]) == 1


def test_an_arm_is_never_run_by_two_commands_at_once(recipe, tmp_path, capsys):
    folder = recipe(toy=TOY)
    all_arms = arms.arms_of(claims.read_claims("savp"), "savp", 1, tmp_path / "runs" / "savp")
    taken = all_arms["toy", "good", 0].folder
    taken.mkdir(parents=True)
    with (taken / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert reproduce(tmp_path, "seeds=1") == 2
    assert "another process is at it" in capsys.readouterr().err
    assert not (folder / "results.json").exists()
    assert calls(tmp_path) == []
    assert reproduce(tmp_path, "seeds=1") == 0


def test_a_real_arm_from_training_to_verdict(tmp_path, monkeypatch):
    """The smallest model, two steps, through train.py and the real measurement."""
    folder = tmp_path / "recipe"
    folder.mkdir()
    monkeypatch.setattr(claims, "recipe_folders", lambda: {"savp": folder})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    claim = {
        "says": "It runs.",
        "variants": {
            "small": {
                "variant": "deterministic_l1",
                "data": "fork",
                "clip.num_frames": 3,
                "model.generator.channels": 2,
                "trainer.max_steps": 2,
                "loader": {"batch_size": 1, "val_clips": 1},
                "callbacks.rollouts": None,
            }
        },
        "measure": {"_component_": "evaluation.known_futures.PsnrAt", "steps": [1], "clips": 2},
        "expect": "small > 5",
        "minutes": 1,
    }
    (folder / "claims.yaml").write_text(json.dumps({"real": claim}))
    assert reproduce(tmp_path, "seeds=1") == 0
    assert json.loads((folder / "results.json").read_text())["real"]["verdict"] == "shown"
