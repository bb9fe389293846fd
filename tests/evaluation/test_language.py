"""The language suite on models that know everything, nothing, or how to guess."""

import json

import pytest
import torch

from checkpoints.own import export
from datamodules.batches import collate
from datamodules.moving_shapes import MovingShapes
from evaluation.language import LanguageSuite, word
from launch.evaluate import main
from recipes.world_model import pixels
from tests.recipes.conftest import built

DATA = dict(num_frames=6, height=24, width=24, seed=3, speed=1.0, size=0.2)
TASKS, ATTRIBUTES = ("imagine", "describe"), ("all", "colour", "direction", "shape")
ALL = {f"{task}_{name}" for task in TASKS for name in ATTRIBUTES}


class Knows:
    """Has seen the test split: looks up what it is asked for."""

    def __init__(self) -> None:
        node = {"_component_": "datamodules.moving_shapes.MovingShapes", **DATA}
        self.hparams = {"data": node, "seed": 0}
        self.device = torch.device("cpu")
        dataset = MovingShapes(**DATA).split("test")
        self.clips = [dataset[i] for i in range(40)]
        self.asked: list[int] = []

    def seen(self, video: torch.Tensor) -> dict:
        return next(clip for clip in self.clips if torch.equal(pixels(clip["video"]), video))

    def imagine(self, captions, num_frames, *, size, generator):
        self.asked.append(len(captions))
        assert (num_frames, size) == (6, (24, 24))
        clips = [next(clip for clip in self.clips if clip["text"] == caption) for caption in captions]
        return torch.stack([pixels(clip["video"]) for clip in clips])

    def describe(self, video, *, generator):
        return [self.seen(one)["text"] for one in video]

    def answer(self, video, questions, *, generator):
        clips = [self.seen(one) for one in video]
        assert [clip["question"] for clip in clips] == questions
        return [clip["answer"] for clip in clips]


class KnowsNothing(Knows):
    def imagine(self, captions, num_frames, *, size, generator):
        return torch.zeros(len(captions), num_frames, 3, *size)

    def describe(self, video, *, generator):
        return ["" for _ in video]

    def answer(self, video, questions, *, generator):
        return ["42" for _ in questions]


class TurnsRound(Knows):
    """All right but the direction."""

    def imagine(self, captions, num_frames, *, size, generator):
        return super().imagine(captions, num_frames, size=size, generator=generator).flip(1)

    def describe(self, video, *, generator):
        turned = {"left": "right", "right": "left", "up": "down", "down": "up"}
        texts = super().describe(video, generator=generator)
        return [" ".join([*text.split()[:-1], turned[text.split()[-1]]]) for text in texts]


SUITE = LanguageSuite(clips=24, batch_size=10)


def test_who_knows_is_right_about_everything():
    model = Knows()
    assert SUITE(model) == dict.fromkeys({*ALL, "answer"}, 1.0)
    assert model.asked == [10, 10, 4]


def test_who_knows_nothing_is_wrong_about_everything():
    assert SUITE(KnowsNothing()) == dict.fromkeys({*ALL, "answer"}, 0.0)


def test_attributes_are_judged_apart():
    wrong = {name for name, value in SUITE(TurnsRound()).items() if value == 0.0}
    assert wrong == {f"{task}_{name}" for task in TASKS for name in ("all", "direction")}


def test_chance_is_the_score_of_the_commonest_answer():
    model = Knows()
    chance = SUITE.chance(model.hparams)
    assert chance.keys() == {*ALL, "answer"}
    clips = model.clips[:24]
    shapes = [clip["text"].split()[2] for clip in clips]
    assert chance["describe_shape"] == max(map(shapes.count, shapes)) / 24
    assert all(1 / 24 <= value < 1 for value in chance.values())


def test_words_by_their_place():
    assert [word("a red disc", place) for place in (0, 2, -1, 3, -4)] == ["a", "disc", "disc", None, None]
    assert word("", 0) is None


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"batch_size": 0}])
def test_nothing_to_judge_is_refused(wrong):
    with pytest.raises(ValueError, match="give at least 1"):
        LanguageSuite(**wrong)


SMALL = [
    "tokenizer.channels=4", "model.decoder.num_layers=1", "model.decoder.dim=32", "model.longest_answer=4",
]  # fmt: skip


def exported(folder, recipe: str, *tokens: str):
    model, _ = built(recipe, *tokens)
    return export(model, dict(model.hparams), folder)


def test_evaluate_puts_the_model_beside_guessing(tmp_path, capsys):
    folder = exported(tmp_path / "model", "lwm", *SMALL)
    tokens = [f"ckpt={folder}", "suite=language", f"out={tmp_path}", "suite.clips=4", "suite.batch_size=3"]
    assert main(tokens) == 0
    found = json.loads((tmp_path / "language.json").read_text())["groups"]["test"]
    assert list(found) == ["model", "guessing"]
    for report in found.values():
        assert report["values"].keys() == {*ALL, "answer"}
        assert all(0 <= value <= 1 for value in report["values"].values())
    assert "describe_all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("recipe", "tokens", "told"),
    [
        ("savp", [], "suite=language asks for text; SAVP has no `imagine`"),
        ("lwm", [*SMALL, "data=fork"], "Fork cannot read captions back from pixels; use data=moving_shapes"),
    ],
)
def test_what_cannot_be_judged_is_one_line(recipe, tokens, told, tmp_path, capsys):
    folder = exported(tmp_path / "model", recipe, *tokens)
    assert main([f"ckpt={folder}", "suite=language", f"out={tmp_path}"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert told in lines[1]


def test_the_true_clips_are_read_right():
    """What the model's clips are judged by makes no mistake on true ones."""
    source = MovingShapes(**DATA)
    clip = collate([source.split("test")[i] for i in range(24)])
    assert source.describe(pixels(clip["video"])) == clip["text"]
