"""Needles in long texts and films: they are where they are said to be, and no question tells."""

import re
import string

import pytest
import torch

from datamodules import ClipSource, SourceError
from datamodules.film_haystack import FilmHaystack
from datamodules.moving_shapes import COLOURS, SHAPES, describe
from datamodules.text_haystack import CITIES, TextHaystack


@pytest.fixture
def books(tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join(f"A sentence on {letters[i % 26]} {letters[i % 7 :]}." for i in range(400))
    (tmp_path / "book.txt").write_text(text)
    return str(tmp_path)


def test_every_answer_stands_once_in_the_text_and_not_in_the_question():
    source = TextHaystack(length=80, needles=6, asked=3, seed=0)
    assert isinstance(source, ClipSource)
    assert source.spec().num_frames == 0
    for split in ("train", "val", "test"):
        clips = source.split(split)
        for index in range(50):
            clip = clips[index]
            assert len(clip["text"]) == 80
            facts = re.findall(r"[A-Z]\d", clip["text"])
            assert len(facts) == len({fact[0] for fact in facts}) == 6
            assert clip["answer"].split() == [
                next(fact for fact in facts if fact[0] == name) for name in clip["question"].split()
            ]
            assert not set(clip["question"]) & set(string.digits)
            assert clip == source.split(split)[index]
    assert source.split("train")[0]["text"] != source.split("test")[0]["text"]


def test_depths_are_those_that_were_asked_for():
    source = TextHaystack(length=64, needles=3, asked=1, seed=0, depths=(0.5, 0.8))
    for length in (64, 1000):
        for depth in (0.0, 0.25, 0.5, 1.0):
            sample = source.sample(length=length, depth=depth, index=3)
            assert len(sample["text"]) == length
            assert sample["text"].index(sample["answer"]) / length == pytest.approx(
                depth, abs=12 / length + 0.15
            )
    places = [clip["text"].index(clip["answer"]) for clip in (source.split("train")[i] for i in range(40))]
    assert 12 < min(places) < max(places) < 58


def test_lengths_may_be_mixed():
    source = TextHaystack(length=40, shortest=20, needles=2, seed=0)
    lengths = {len(source.split("train")[i]["text"]) for i in range(300)}
    assert lengths == set(range(20, 41))
    same = TextHaystack(length=40, shortest=40, needles=2, seed=0).split("train")[5]
    assert same == TextHaystack(length=40, needles=2, seed=0).split("train")[5]


def test_books_hide_numbers_of_cities_behind_sentences(books):
    source = TextHaystack(length=900, needles=3, asked=2, documents=books, seed=0)
    for depth in (0.0, 0.4, 1.0):
        sample = source.sample(length=900, depth=depth, index=0)
        first, second = sample["answer"].split(", ")
        assert len(first) == len(second) == 7
        names = re.findall("|".join(CITIES), sample["question"])
        for name, number in zip(names, (first, second), strict=True):
            fact = f" The special magic {name} number is: {number}."
            place = sample["text"].index(fact)
            assert place == 0 or depth == 1 or sample["text"][place - 1] == "."
        assert len(sample["text"]) == 900
        assert sample["question"] == f"What are the special magic {names[0]}, {names[1]} numbers?"
    assert len(set(CITIES)) == len(CITIES)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"needles": 2, "asked": 3}, "3 asked of 2 needles; ask for 1 or more of up to 26"),
        ({"needles": 26}, "26 needles do not fit into 64 bytes"),
        ({"shortest": 8, "needles": 3}, "3 needles do not fit into 8 bytes"),
        ({"shortest": 65}, "shortest is 65, length 64; give 1 to the length"),
        ({"depths": (0.5, 0.2)}, "two shares, the smaller first"),
        ({"documents": "nowhere", "length": 400}, r"0 \*.txt with 0 letters; give at least 400"),
    ],
)
def test_mistakes_are_told_in_a_line(changes, told):
    with pytest.raises(SourceError, match=told):
        TextHaystack(**({"length": 64, "seed": 0} | changes)).split("train")[0]


def test_a_film_shows_its_answer_for_a_moment():
    source = FilmHaystack(num_frames=12, height=32, width=32, seed=0, shown=2)
    assert isinstance(source, ClipSource)
    for index in range(20):
        clip = source.split("train")[index]
        video = clip["video"].float() / 255
        coloured = (video.amax(1) - video.amin(1)).amax((1, 2)) > 0.2
        assert coloured.sum() == 2
        first = int(coloured.nonzero()[0])
        seen = describe(video[None, first : first + 2])[0].split()
        assert f"{seen[1]} {seen[2]}" == clip["answer"]
    answers = {source.split("test")[i]["answer"] for i in range(200)}
    assert answers == {f"{colour} {shape}" for colour in COLOURS for shape in SHAPES}
    for depth, place in ((0.0, 0), (0.5, 19), (1.0, 38)):
        video = source.sample(length=40, depth=depth, index=1)["video"]
        assert len(video) == 40
        coloured = (video.amax(1).int() - video.amin(1).int()).amax((1, 2)) > 50
        assert coloured.nonzero().flatten().tolist() == [place, place + 1]
    with pytest.raises(SourceError, match="5 of 4 frames"):
        FilmHaystack(num_frames=4, height=32, width=32, seed=0, shown=5)
    assert torch.equal(source.split("val")[3]["video"], source.split("val")[3]["video"])


def test_films_of_several_lengths_lie_in_buckets():
    source = FilmHaystack(num_frames=12, height=16, width=16, seed=0, lengths=[4, 8, 12], num_clips=60)
    assert source.spec().buckets == ((4, 16, 16), (8, 16, 16), (12, 16, 16))
    clips = source.split("train")
    assert [len(clips[i]["video"]) for i in range(4)] == [4, 8, 12, 4]
    assert [clips.bucket_of(i)[0] for i in range(4)] == [4, 8, 12, 4]
    for lengths, told in (([4, 16], "lengths go to 16"), ([], "1 of 0 frames")):
        with pytest.raises(SourceError, match=told):
            FilmHaystack(num_frames=12, height=16, width=16, seed=0, lengths=lengths)
