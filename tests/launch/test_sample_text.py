"""sample.py with texts: videos of a text, a caption, an answer."""

import pytest
import torch
from PIL import Image

from checkpoints.own import export
from launch.sample import main
from tests.media import numbered_frame
from tests.recipes.conftest import built

SMALL = [
    "tokenizer.channels=4", "model.decoder.num_layers=1", "model.decoder.dim=32", "model.longest_answer=5",
]  # fmt: skip


@pytest.fixture(scope="module")
def lwm(tmp_path_factory):
    model, _ = built("lwm", *SMALL)
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("lwm") / "model")


@pytest.fixture(scope="module")
def savp(tmp_path_factory):
    model, _ = built("savp")
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("savp") / "model")


@pytest.fixture(scope="module")
def framepack(tmp_path_factory):
    """Not trained, but a text has a say."""
    model, _ = built("framepack", "tokenizer.widths=[8,16]")
    with torch.no_grad():
        for weight in model.backbone.parameters():
            if not weight.any():  # its gates and last layer begin as zeros
                weight.normal_(std=0.1)
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("framepack") / "model")


def test_a_text_becomes_videos(lwm, tmp_path, capsys):
    tokens = [f"ckpt={lwm}", "text=a red disc, moves left!", "samples=2", f"out={tmp_path}", "seed=3"]
    assert main(tokens) == 0
    names = {f"a_red_disc_moves_left_seed3{end}" for end in (".mp4", ".gif", ".png")}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert capsys.readouterr().out.count("wrote ") == 3


def test_a_longer_video_than_the_clips_of_the_run(lwm, tmp_path):
    """What is made of a text needs no clip of its length."""
    assert main([f"ckpt={lwm}", "text=b", "samples=1", "horizon=12", f"out={tmp_path}"]) == 0


def test_same_seed_same_file(lwm, tmp_path):
    for name in ("one", "two"):
        assert main([f"ckpt={lwm}", "text=b", "samples=1", f"out={tmp_path / name}"]) == 0
    one, two = (next((tmp_path / name).glob("*.png")).read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("question", ["what color is it?", "caption"])
def test_a_question_is_answered_in_words(lwm, tmp_path, capsys, question):
    said = []
    for _ in range(2):
        assert main([f"ckpt={lwm}", f"question={question}", f"out={tmp_path}", "clip=1"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("text=a red disc", "SAVP reads no text; recipe=lwm and recipe=framepack do"),
        ("question=what color is it?", "SAVP knows no language; recipe=lwm does"),
    ],
)
def test_a_model_without_language_says_so(savp, tmp_path, capsys, token, told):
    assert main([f"ckpt={savp}", token, f"out={tmp_path}"]) == 2
    first, line = capsys.readouterr().err.strip().splitlines()
    assert first == "sample.py: 1 problem, nothing was started"
    assert line.split()[0] == token.split("=")[0]
    assert told in line


def sampled(model, out, *tokens: str) -> bytes:
    assert main([f"ckpt={model}", "samples=1", "horizon=2", f"out={out}", *tokens]) == 0
    (picture,) = out.glob("*.png")
    return picture.read_bytes()


def test_a_caption_and_an_image_become_a_video(framepack, tmp_path):
    image = tmp_path / "photo.png"
    Image.fromarray(numbered_frame(7)).save(image)
    red, again, blue, none = (
        sampled(framepack, tmp_path / name, f"video={image}", *text)
        for name, text in (
            ("red", ["text=a red disc moves up"]), ("again", ["text=a red disc moves up"]),
            ("blue", ["text=a blue disc moves down"]), ("none", []),
        )
    )  # fmt: skip
    assert red == again
    assert len({red, blue, none}) == 3
    assert all(file.stem.endswith("_a_red_disc_moves_up_seed0") for file in (tmp_path / "red").iterdir())


def test_a_caption_takes_the_place_of_a_clips_own(framepack, tmp_path):
    own, other = sampled(framepack, tmp_path / "own"), sampled(framepack, tmp_path / "other", "text=x")
    assert own != other


def test_videos_go_on_as_for_every_recipe(lwm, tmp_path):
    assert main([f"ckpt={lwm}", "samples=1", f"out={tmp_path}"]) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_a_long_video_is_written_while_it_is_made(framepack, tmp_path, capsys, monkeypatch):
    import av

    from components.media import Mp4Writer

    written = []
    write = Mp4Writer.write
    monkeypatch.setattr(
        Mp4Writer, "write", lambda self, video: (written.append(len(video)), write(self, video))
    )
    assert main([f"ckpt={framepack}", "samples=2", "num_seconds=5", f"out={tmp_path}"]) == 0
    (file,) = tmp_path.iterdir()
    with av.open(str(file)) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].average_rate * 5 == len(frames) == sum(written)
    assert len(written) > 5  # what is known, then section by section
    assert frames[0].width > 2 * 128  # side by side
    assert "5.0 of 5.0 s" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["num_seconds=0"], ["num_seconds=3", "horizon=4"]])
def test_seconds_that_cannot_be_are_told(framepack, tmp_path, capsys, words):
    assert main([f"ckpt={framepack}", *words, f"out={tmp_path}"]) == 2
    assert "give seconds above 0, and no horizon beside them" in capsys.readouterr().err


@pytest.fixture(scope="module")
def arriving(tmp_path_factory):
    """In inverted order, with a part of its training clips told their ends."""
    model, _ = built("framepack", "tokenizer.widths=[8,16]", "variant=inverted", "model.order.endings=0.5")
    with torch.no_grad():
        for weight in model.backbone.parameters():
            if not weight.any():
                weight.normal_(std=0.1)
    return export(model, dict(model.hparams), tmp_path_factory.mktemp("arriving") / "model")


def picture(folder, number):
    file = folder / f"{number}.png"
    Image.fromarray(numbered_frame(number, 32, 32)).save(file)
    return file


def test_a_video_arrives_at_a_given_image(arriving, tmp_path):
    videos = []
    for number in (3, 200):
        words = [f"ckpt={arriving}", f"end_image={picture(tmp_path, number)}", "samples=1", "horizon=16"]
        assert main([*words, f"out={tmp_path / str(number)}"]) == 0
        videos.append(next((tmp_path / str(number)).glob("*.png")).read_bytes())
    assert videos[0] != videos[1]


def test_every_section_has_a_text_of_its_own(framepack, tmp_path):
    films = []
    for texts in ("[a red disc, a red disc]", "[a red disc, a blue square]"):
        words = [f"ckpt={framepack}", f"section_texts={texts}", "samples=1", "horizon=24"]
        assert main([*words, f"out={tmp_path / texts[-8:-1]}"]) == 0
        (file,) = (tmp_path / texts[-8:-1]).glob("*.png")
        films.append(file.read_bytes())
    assert films[0] != films[1]
    assert "then_a_blue_square" in file.name


def test_the_sampler_of_a_trained_model_can_be_another(framepack, tmp_path):
    made = []
    for change in (
        [],
        ["model.sampler=euler"],
        ["model.feature_cache=tea_plain"],
        ["model.guidance.scale=2"],
    ):
        words = [f"ckpt={framepack}", "samples=1", f"out={tmp_path / str(len(made))}", *change]
        assert main(words) == 0
        made.append(next((tmp_path / str(len(made))).glob("*.png")).read_bytes())
    assert made[0] not in (made[1], made[3])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.smapler=euler"], "did you mean sampler"),
        (["model.sampler=eular"], "no such flow sampler; did you mean euler"),
        (["model.sampler.num_steps=many"], "expected an integer"),
        (["end_image=nothing.png"], "variant=endpoint"),
    ],
)
def test_changes_that_do_not_fit_are_told_in_a_line(framepack, words, told, capsys):
    assert main([f"ckpt={framepack}", *words]) == 2
    said = capsys.readouterr().err
    assert told in said


def test_an_image_that_is_not_there_is_told_in_a_line(arriving, savp, capsys):
    assert main([f"ckpt={arriving}", "end_image=nothing.png"]) == 2
    assert "end_image" in capsys.readouterr().err
    assert main([f"ckpt={savp}", "section_texts=[a]"]) == 2
    assert "makes no video in sections" in capsys.readouterr().err
