"""The suite on codes: models that know every change, or none, and maps of what codes are made of."""

import csv
import json

import pytest
import torch

from checkpoints.own import export
from datamodules.moving_shapes import MovingShapes
from evaluation import Report
from evaluation.code_maps import draw_maps, flattened, principal
from evaluation.codes import CodesSuite, coloured_by
from launch.evaluate import main
from tests.recipes.conftest import built

CLIPS = 7
SHAPES = {"height": 24, "width": 24, "seed": 3, "speed": 1.0, "size": 0.2}
SHAPES = {"_component_": "datamodules.moving_shapes.MovingShapes", "num_frames": 6, **SHAPES}
GO = {"games": "shipped", "size": 5, "num_frames": 2, "height": 32, "width": 32, "cell": 6, "seed": 0}
GO = {"_component_": "datamodules.go.videos.GoVideos", **GO}
FORK = {"_component_": "datamodules.fork.Fork", "num_frames": 9, "height": 32, "width": 32, "seed": 0}


class Remembers:
    """Dynamics whose codes are numbers of videos that it has seen."""

    horizon, num_codes, codebook_size, dim = 2, 2, 100, 4

    def __init__(self) -> None:
        self.videos: list[torch.Tensor] = []

    def encode(self, video):
        first = len(self.videos)
        self.videos += list(video)
        return torch.arange(first, len(self.videos))[:, None].expand(-1, 2).clone()

    def features(self, video):
        assert video.shape[1] == 3  # as far as it looks, whatever a training clip has
        return torch.stack([video.mean(dim=(1, 3, 4)).repeat(1, 2)[:, :4]] * 2, dim=1)

    def decode(self, frame, codes):
        return torch.stack([self.videos[i][1:] for i in codes[:, 0].tolist()])


class Copies(Remembers):
    """Has one code, for no change at all."""

    def encode(self, video):
        return torch.zeros(len(video), 2, dtype=torch.long)

    def decode(self, frame, codes):
        return frame[:, None].expand(-1, 2, -1, -1, -1)


class Model:
    """What a suite asks for."""

    def __init__(self, dynamics, data: dict) -> None:
        self.dynamics, self.hparams, self.device = dynamics, {"data": data, "seed": 0}, torch.device("cpu")


class Writes(Model):
    """Writes codes too: those of the first video, whatever it sees."""

    asked = 0

    def next_frame(self, context, generator, *, temperature, draw):
        video = context["video"]
        assert video.shape[1] == 1
        Writes.asked += 1
        codes = torch.zeros(len(video), 2, dtype=torch.long)
        return type("Step", (), {"frames": video, "codes": codes})

    def imagine(self, frame, codes):
        return self.dynamics.decode(frame, codes)


def judged(model, clips: int = CLIPS) -> tuple[Report, dict[str, float]]:
    suite = CodesSuite(clips=clips, batch_size=3)
    return suite(model), suite.chance(model.hparams)


def test_who_remembers_gives_everything_back():
    report, copied = judged(Model(Remembers(), SHAPES))
    assert report.values["psnr"] == 100.0 > copied["psnr"]
    assert report.values["distinct_codes"] == CLIPS
    assert report.values["code_usage"] == pytest.approx(CLIPS / 100)
    assert report.values["code_perplexity"] == pytest.approx(CLIPS)
    assert report.curves["distinct_codes"].tolist() == [CLIPS, CLIPS]
    assert report.curves["psnr"].shape == report.curves["psnr_first_frame"].shape == (2,)
    assert "exact_boards" not in report.values  # shapes have no board to read


def test_who_copies_scores_as_copying_does():
    report, copied = judged(Model(Copies(), SHAPES))
    assert report.values["psnr"] == pytest.approx(copied["psnr"])
    assert report.values["distinct_codes"] == 1
    assert report.curves["psnr"].tolist() == report.curves["psnr_first_frame"].tolist()


def test_boards_are_read_back_from_what_codes_give():
    report, copied = judged(Model(Remembers(), GO))
    assert report.values["exact_boards"] == 1.0 > copied["exact_boards"]
    assert report.curves["exact_boards"].tolist() == [1.0, 1.0]
    assert set(report.values) == set(CodesSuite.metrics)
    assert any(name.startswith("map_") for name in report.pictures)


def test_files_and_films_tell_of_every_clip():
    report, _ = judged(Model(Remembers(), SHAPES))
    lines = list(csv.reader(report.files["codes.csv"].splitlines()))
    assert lines[0] == ["id", "code_1", "code_2", "x_1", "y_1", "x_2", "y_2"]
    dataset = MovingShapes(**{k: v for k, v in SHAPES.items() if k != "_component_"}).split("test")
    assert [line[0] for line in lines[1:]] == [dataset[i]["id"] for i in range(CLIPS)]
    assert [int(line[1]) for line in lines[1:]] == list(range(CLIPS))
    assert {"map_change", "imagined_1", "imagined_3"} <= report.pictures.keys()  # the first batch's films
    for picture in report.pictures.values():
        assert (picture.dtype, picture.shape[0]) == (torch.uint8, 3)


def test_a_model_that_writes_codes_shows_what_it_imagines():
    Writes.asked = 0
    silent, _ = judged(Model(Remembers(), SHAPES))
    writing, _ = judged(Writes(Remembers(), SHAPES))
    assert Writes.asked == 1
    assert writing.pictures["imagined_1"].shape[1] > silent.pictures["imagined_1"].shape[1]


def test_continuous_actions_colour_by_how_far_they_have_led():
    report, _ = judged(Model(Remembers(), FORK | {"controlled": True}))
    assert {"map_disc.vx", "map_disc.vy"} <= report.pictures.keys()
    actions = torch.tensor([[[0.5, 1.0], [0.25, -1.0]]])
    known = coloured_by(("x", "y"), actions, torch.zeros(1, 2))
    assert known["x"].tolist() == [[0.5, 0.75]]
    assert known["y"].tolist() == [[1.0, 0.0]]
    assert coloured_by(("move",), torch.tensor([[[3.0], [7.0]]]), torch.zeros(1, 2))["move"].tolist() == [
        [3, 7]
    ]
    assert coloured_by((), None, torch.ones(1, 2)).keys() == {"change"}
    assert coloured_by((), actions, torch.zeros(1, 2)).keys() == {"action_0", "action_1"}


def test_principal_components_keep_what_varies_most():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(200, 2, generator=generator) * torch.tensor([5.0, 2.0])
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q[:2]
    found = principal(hidden @ turn + 3.0)
    torch.testing.assert_close(torch.pdist(found), torch.pdist(hidden), rtol=1e-3, atol=1e-3)
    assert float(found[:, 0].std()) > float(found[:, 1].std())
    assert torch.equal(found, principal(hidden @ turn + 3.0))
    assert principal(torch.randn(5, 1, generator=generator)).shape == (5, 2)
    assert not principal(torch.ones(4, 3)).any()


def test_tsne_draws_the_map_where_there_are_points_and_a_library_for_it():
    assert flattened(torch.randn(20, 4))[0] == "principal components"
    pytest.importorskip("sklearn")
    how, places = flattened(torch.randn(120, 4))
    assert (how, places.shape) == ("t-SNE", (120, 2))


def test_maps_are_drawn_of_numbers_of_either_kind():
    points = torch.randn(30, 2)
    whole, real = torch.arange(30.0), torch.linspace(0, 1, 30)
    for values in (whole, real, torch.full((30,), 0.5), torch.zeros(30)):
        one = draw_maps([points], [values], how="as it came", title="title")
        two = draw_maps([points, points], [values, values], how="as it came", title="title")
        assert two.shape[2] > 1.5 * one.shape[2]


def test_a_model_without_dynamics_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"^suite=codes asks for latent dynamics; this Model has none: give"):
        judged(Model(None, SHAPES))
    with pytest.raises(ValueError, match="give at least 1"):
        CodesSuite(clips=0)


def test_evaluate_writes_tables_maps_and_films(tmp_path):
    model, _ = built("videoworld")
    folder = export(model, dict(model.hparams), tmp_path / "model")
    tokens = [f"ckpt={folder}", "suite=codes", f"out={tmp_path}", "suite.clips=6", "suite.batch_size=3"]
    assert main(tokens) == 0
    found = json.loads((tmp_path / "codes.json").read_text())["groups"]["test"]
    assert list(found) == ["model", "guessing"]
    assert set(found["model"]["values"]) == set(CodesSuite.metrics)
    assert found["guessing"]["values"].keys() == {"psnr", "exact_boards"}
    assert (tmp_path / "codes" / "codes.csv").is_file()
    assert list((tmp_path / "codes").glob("imagined_*.png"))
