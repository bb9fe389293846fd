"""Which stage of a recipe an override reaches; the recipe with two stages is LWM."""

import json

import pytest
import yaml

from launch.command import parse
from launch.compose import change_stages, compose
from launch.main import main
from launch.overrides import find
from launch.run import prepare


def composed(*tokens: str) -> tuple[dict, list]:
    return compose(parse(["recipe=lwm", *tokens]))


def values(stages: dict, key: str) -> list:
    return [find(config, key) for config in stages.values()]


def test_stages_come_in_order_with_their_own_values():
    stages, problems = composed()
    assert problems == []
    assert list(stages) == ["tokenizer", "model"]
    assert values(stages, "model._component_") == [
        "recipes.tokenizer_training.TokenizerTraining",
        "recipes.lwm.recipe.LWM",
    ]


def test_a_key_goes_to_every_stage_and_an_address_to_one():
    steps = values(composed()[0], "trainer.max_steps")
    assert len(set(steps)) == 2
    assert values(composed("trainer.max_steps=5")[0], "trainer.max_steps") == [5, 5]
    stages, problems = composed("stages.tokenizer.trainer.max_steps=5")
    assert problems == []
    assert values(stages, "trainer.max_steps") == [5, steps[1]]
    stages, _ = composed("trainer.max_steps=4", "stages.tokenizer.trainer.max_steps=5")
    assert values(stages, "trainer.max_steps") == [5, 4]


def test_a_key_that_one_stage_knows_goes_there():
    stages, problems = composed("model.packing=naive", "model.discriminator=image", "model.reconstruction=l1")
    assert problems == []
    assert values(stages, "model.packing") == [None, "naive"]
    assert values(stages, "model.reconstruction") == ["l1", None]
    assert values(stages, "model.discriminator.num_frames") == [1, None]


@pytest.mark.parametrize("key", ["callbacks.mine", "trainer.limit_val_batches"])
def test_a_new_key_goes_to_every_stage(key):
    stages, problems = composed(f"{key}=2" if key.startswith("trainer") else f"{key}=ema")
    assert problems == []
    first, second = values(stages, key)
    assert first == second is not None


def test_deletions_follow_the_same_rules():
    tokens = ["~callbacks.rollouts", "~model.longest_answer", "~stages.model.callbacks.progress"]
    stages, problems = composed(*tokens)
    assert problems == []
    assert values(stages, "callbacks.rollouts") == [None, None]
    assert "longest_answer" not in stages["model"]["model"]
    assert values(stages, "callbacks.progress._component_") == ["callbacks.progress.Progress", None]


def test_a_sizes_values_come_before_the_command_line():
    stages, _ = composed("size=paper", "trainer.max_steps=7", "stages.tokenizer.seed=3")
    assert set(values(stages, "trainer.max_steps")) == {7}
    assert values(stages, "seed")[0] == 3 != values(stages, "seed")[1]


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("stages.tokenzer.trainer.max_steps=5", "did you mean tokenizer?; there are: model, tokenizer"),
        ("stages.tokenizer=5", "write stages.NAME.key"),
        ("stages=5", "write stages.NAME.key"),
        ("~stages.modle.callbacks.progress", "did you mean model?"),
        ("trainer.max_step=5", "did you mean"),
        ("modle.packing=naive", "did you mean model"),
        ("model.packng=naive", "did you mean packing?"),
        ("model.reconstructon=l1", "did you mean reconstruction?"),
        ("stages.model.model.packng=naive", "did you mean"),
        ("~callbacks.rolouts", "did you mean callbacks.rollouts?"),
        ("~callbacks.nothing_like_it", "nothing to delete here"),
    ],
)
def test_a_mistake_is_one_line(token, told, capsys, tmp_path):
    assert main(["recipe=lwm", token, f"run_dir={tmp_path / 'run'}"]) == 2
    first, *lines = capsys.readouterr().err.strip().splitlines()
    assert first == "train.py: 1 problem, nothing was started"
    assert len(lines) == 1
    assert told in lines[0]
    assert not (tmp_path / "run").exists()


def framepack(*tokens: str) -> tuple[list[str], list[str]]:
    stages, problems = compose(parse(["recipe=framepack", *tokens]))
    return list(stages), [f"{problem.path}: {problem.message}" for problem in problems]


def test_a_cache_that_nobody_reads_is_not_made():
    assert framepack("stages.model.cache=null") == (["tokenizer", "model"], [])
    assert framepack("stages.model.cache=null", "callbacks.writer.train_clips=9")[1] == []
    assert framepack("stages.model.cache=null", "stage=cache") == (["cache"], [])
    assert framepack("stages.model=null") == (["tokenizer", "cache"], [])  # asked for


def test_a_stage_is_left_out_on_the_command_line():
    assert framepack("stages.tokenizer=null") == (["cache", "model"], [])
    reading = "stages.model.cache.root=other/latents"
    assert framepack("stages.cache=null", reading) == (["tokenizer", "model"], [])
    assert framepack("stages.cache=null", "stages.model.cache=null") == (["tokenizer", "model"], [])


@pytest.mark.parametrize("tokens", [["stages.cache=null"], ["callbacks.writer.root=other"]])
def test_a_cache_that_is_never_made_is_told_before_the_first_stage(tokens):
    _, (told,) = framepack(*tokens)
    assert told.startswith("stages.model.cache: reads ${run:latents}, which no stage of this run writes")
    assert "stages.model.cache.root=FOLDER" in told


def test_one_stage_at_least():
    stages, told = framepack("stages.tokenizer=null", "stages.cache=null", "stages.model=null")
    assert stages == []
    assert told == ["stages.cache, stages.model, stages.tokenizer: nothing is left to do"]


def test_no_stage_of_this_name(capsys):
    assert main(["recipe=lwm", "stage=tokenzer"]) == 2
    assert "no such stage; did you mean tokenizer?; there are: model, tokenizer" in capsys.readouterr().err


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run folder as a run leaves it, and what a resumed run would fit."""
    stages, _ = composed("trainer.max_steps=5")
    for name, raw in stages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    (tmp_path / "run.json").write_text(json.dumps({"stages": list(stages), "weights": None}))
    fitted = {}
    monkeypatch.setattr("launch.main.fit", lambda stages, run, *rest: fitted.update(stages) or 0)
    return tmp_path, fitted


def test_overrides_of_a_resumed_run_follow_the_same_rules(begun, capsys):
    run, fitted = begun
    assert main([f"resume={run}"]) == 0
    assert values(fitted, "trainer.max_steps") == [5, 5]
    assert main([f"resume={run}", "stages.model.trainer.max_steps=9", "~callbacks.rollouts"]) == 0
    assert values(fitted, "trainer.max_steps") == [5, 9]
    assert values(fitted, "callbacks.rollouts") == [None, None]
    assert main([f"resume={run}", "stages.modle.trainer.max_steps=9"]) == 2
    assert "did you mean model?" in capsys.readouterr().err
    assert main([f"resume={run}", "model.packng=naive"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_recipes_of_one_stage_take_the_address_too():
    stages, problems = compose(parse(["recipe=savp", "stages.train.trainer.max_steps=3"]))
    assert problems == []
    assert stages["train"]["trainer"]["max_steps"] == 3


def test_order_of_stages_does_not_matter():
    """Each stage is judged by what it was before the command."""
    both = [{"a": {"known": 1}}, {"a": {"other": 1}}]
    for order in (both, both[::-1]):
        stages = {str(i): json.loads(json.dumps(config)) for i, config in enumerate(order)}
        problems = change_stages(stages, parse(["a={new: 2}", "a.known=3"]))
        assert problems == []
        assert [stage["a"].get("new") for stage in stages.values()] == [2, 2]
        assert sorted(str(stage["a"].get("known")) for stage in stages.values()) == ["3", "None"]


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        (["chat_32k", "chat_128k", "chat_1m"], 8 * 2**20),
        (["32k", "128k", "256k", "512k", "1m"], 4 * 2**20),
    ],
    ids=["chat", "text"],
)
def test_long_stages_have_the_papers_batches(words, tokens):
    """Of LWM: rows of all groups that share one; a group fills its row, or rows, with a text or clip each."""
    stages, problems = compose(
        parse(["recipe=lwm", "size=paper", *(["variant=text", "data.root=books"] if "1m" in words else [])])
    )
    assert problems == []
    assert list(stages)[-len(words) :] == words
    for raw in (stages[name] for name in words):
        groups = raw["trainer"]["devices"] * raw["trainer"]["num_nodes"] / raw["parallel"]["context"]
        assert raw["loader"]["batch_size"] * groups * raw["model"]["row_length"] == tokens
        filled = raw["clip"]["num_frames"] * 257 or raw["data"]["length"] / 4
        assert 0.85 < filled / raw["model"]["row_length"] <= 1
        prepare(raw)
