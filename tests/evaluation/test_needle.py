"""The needle suite: who reads all scores 1, who reads the end scores there, who guesses nowhere."""

import re
from types import SimpleNamespace

import pytest
import torch

from evaluation.needle import NeedleSuite

TEXTS = {
    "_component_": "datamodules.text_haystack.TextHaystack", "length": 64, "needles": 3, "asked": 2, "seed": 0
}  # fmt: skip
FILMS = {
    "_component_": "datamodules.film_haystack.FilmHaystack",
    "num_frames": 8, "height": 32, "width": 32, "seed": 0,
}  # fmt: skip


def reader(data, last: int | None = None, guess: str | None = None) -> SimpleNamespace:
    """Stands for a model that reads the last so many bytes of texts, all of them, or none."""

    def complete(documents, questions, *, generator):
        assert isinstance(generator, torch.Generator)
        said = []
        for document, question in zip(documents, questions, strict=True):
            facts = dict(re.findall(r"([A-Z])(\d)", document[-last:] if last else document))
            said.append(guess or " ".join(f"{name}{facts.get(name, '?')}" for name in question.split()))
        return said

    def answer(video, questions, *, generator):
        from datamodules.moving_shapes import describe

        assert video.dtype == torch.float32
        assert float(video.max()) <= 1
        said = []
        for clip in video:
            coloured = ((clip.amax(1) - clip.amin(1)).amax((1, 2)) > 0.2).nonzero().flatten()
            said.append(" ".join(describe(clip[None, coloured])[0].split()[1:3]) if len(coloured) else "")
        return said

    return SimpleNamespace(
        hparams={"data": data, "seed": 0}, device=torch.device("cpu"), complete=complete, answer=answer
    )


def test_who_reads_all_finds_all():
    suite = NeedleSuite(lengths=[128, 64], depths=3, rounds=4, batch_size=5)
    found = suite(reader(TEXTS))
    assert found == {"accuracy": 1, "found": 1, "accuracy_64": 1, "accuracy_128": 1}
    assert set(found) == set(suite.metrics)
    assert "| 50% | 1.000 | 1.000 |" in suite.files()["needles.md"]
    assert "| depth | 64 bytes | 128 bytes |" in suite.files()["needles.md"]
    assert "12 questions a length" in suite.notes()[0]
    picture = suite.pictures()["needles"]
    assert picture.dtype == torch.uint8
    assert picture.shape[0] == 3


def test_who_reads_the_end_finds_what_lies_there():
    suite = NeedleSuite(lengths=[200], depths=5, rounds=6)
    suite(reader(TEXTS, last=80))
    rows = [line.split(" | ")[1].rstrip(" |") for line in suite.files()["needles.md"].splitlines()[2:]]
    assert [float(row) for row in rows] == [0, 0, 0, 1, 1]


def test_who_guesses_finds_little_and_half_an_answer_is_half():
    assert NeedleSuite(lengths=[64], depths=2, rounds=8)(reader(TEXTS, guess="A1 B2"))["accuracy"] == 0
    every = " ".join(f"{chr(65 + i)}{j}" for i in range(26) for j in range(0, 10, 2))
    assert 0.2 < NeedleSuite(lengths=[64], depths=2, rounds=16)(reader(TEXTS, guess=every))["found"] < 0.8


def test_films_and_another_source():
    suite = NeedleSuite(lengths=[4, 20], depths=3, rounds=3, data=FILMS)
    assert suite.chance({})["accuracy_4"] == pytest.approx(1 / 18)
    assert NeedleSuite(lengths=[64], data=TEXTS).chance({}) == {"accuracy": 0.01, "accuracy_64": 0.01}
    assert suite(reader(TEXTS))["accuracy"] == 1
    assert "| depth | 4 frames | 20 frames |" in suite.files()["needles.md"]


def test_of_a_few_frames_little_is_seen():
    suite = NeedleSuite(lengths=[4, 20], depths=3, rounds=3, frames=4, data=FILMS)
    assert suite(reader(TEXTS)) == {"accuracy": 0.5, "found": 0.5, "accuracy_4": 1.0, "accuracy_20": 0.0}


def test_mistakes_are_told_in_a_line():
    with pytest.raises(ValueError, match="give lengths above 0, 2 depths or more"):
        NeedleSuite(lengths=[64], depths=1)
    shapes = {"_component_": "datamodules.moving_shapes.MovingShapes"}
    shapes |= {"num_frames": 4, "height": 32, "width": 32, "seed": 0}
    with pytest.raises(ValueError, match="of which MovingShapes knows nothing"):
        NeedleSuite(lengths=[4])(reader(shapes))
