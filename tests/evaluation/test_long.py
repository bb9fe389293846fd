import math

import pytest
import torch
from torch import Tensor

import evaluation.video
from components.metrics.video_drift_error import chunk_scores, video_drift_error
from components.metrics.video_scores import sharpness
from evaluation import Report, Suite, Timing
from evaluation.long import LongSuite, collapse

FRAMES = 40


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(evaluation.video, "lpips_available", lambda: False)


def squares(videos: int = 6) -> Tensor:
    """White squares that walk over a dark ground, each along its own line."""
    clips = torch.full((videos, FRAMES, 3, 32, 32), 0.1)
    for i in range(videos):
        for t in range(FRAMES):
            row, column = 4 * i, (3 * i + t) % 26
            clips[i, t, :, row : row + 6, column : column + 6] = 0.9
    return clips


def judged(predicted: Tensor, truth: Tensor, timing: Timing | None = None) -> Report:
    suite = LongSuite()
    for part in (slice(0, 2), slice(2, None)):
        clip = {"video": (truth[part] * 255).to(torch.uint8)}
        suite.update(predicted[part][:, None], truth[part], clip, timing)
    return suite.compute()


def test_it_is_a_suite():
    suite = LongSuite(horizon=4)
    assert isinstance(suite, Suite)
    assert (suite.samples, suite.horizon) == (1, 4)
    with pytest.raises(ValueError, match="above 0"):
        LongSuite(horizon=0)


def test_the_truth_keeps_its_quality():
    truth = squares()
    report = judged(truth, truth)
    assert (report.values["psnr"], report.values["ssim"]) == (100, 1)
    assert (report.values["delta_psnr"], report.values["delta_ssim"]) == (0, 0)
    assert (report.values["motion"], report.values["spread"]) == (1, pytest.approx(1))
    expected = video_drift_error(chunk_scores(truth, sharpness)).mean().item()
    assert report.values["vde_sharpness"] == pytest.approx(expected)
    assert report.curves["psnr"].shape == report.curves["motion"].shape == (FRAMES,)
    assert not any("seconds" in name for name in report.values)


def test_fading_shows_in_deltas_and_drift():
    truth = squares()
    fading = truth * torch.linspace(1, 0.5, FRAMES)[:, None, None, None]
    faded, kept = judged(fading, truth).values, judged(truth, truth).values
    assert faded["delta_psnr"] > 5
    for name in ("vde_sharpness", "vde_colour", "vde_late_sharpness"):
        assert faded[name] > 2 * kept[name]


@pytest.mark.parametrize(
    ("collapsed", "told"),
    [
        (lambda truth: truth[:, :1].expand_as(truth), "frozen"),
        (lambda truth: truth.mean(dim=(0, 1), keepdim=True).expand_as(truth), "frozen"),
        (lambda truth: truth[:1].expand_as(truth), "end alike"),
        (lambda truth: torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)), "noise"),
    ],
)
def test_a_collapsed_video_does_not_win(collapsed, told):
    truth = squares()
    report = judged(collapsed(truth), truth)
    drifts = [value for name, value in report.values.items() if name.startswith("vde_")]
    assert len(drifts) == 6
    assert all(value == math.inf for value in drifts)
    assert any(note.startswith("VDE does not count") and told in note for note in report.notes)


def test_collapse_is_judged_against_the_truth():
    assert collapse(1.0, 1.0) == ""
    assert collapse(1.0, math.nan) == ""
    assert "frozen" in collapse(0.05, 1.0)
    assert "noise" in collapse(20.0, 1.0)
    assert "alike" in collapse(1.0, 0.2)


def test_cost_against_length():
    truth = squares()
    timing = Timing(torch.linspace(1, 2, FRAMES), torch.linspace(1, 2, FRAMES) * 2**20)
    report = judged(truth, truth, timing)
    assert report.values["seconds_per_frame"] == pytest.approx(1.5)
    assert report.values["seconds_growth"] == pytest.approx((2 - 2.5 / 39) / (1 + 2.5 / 39))
    assert report.values["peak_megabytes"] == pytest.approx(2)
    torch.testing.assert_close(report.curves["seconds_per_frame"].float(), timing.seconds)
    assert report.curves["peak_megabytes"].shape == (FRAMES,)


@pytest.mark.parametrize(("frames", "drifts"), [(1, 0), (9, 0), (29, 4), (30, 6)])
def test_short_rollouts_say_what_is_missing(frames, drifts):
    truth = squares()[:, :frames]
    report = judged(truth, truth)
    assert sum(name.startswith("vde_") for name in report.values) == drifts
    assert any("raise horizon" in note for note in report.notes) == (drifts < 6)


def test_a_single_video_has_no_spread():
    truth = squares(1)
    suite = LongSuite()
    suite.update(truth[:, None], truth, {"video": (truth * 255).to(torch.uint8)})
    report = suite.compute()
    assert "spread" not in report.values
    assert any(note.startswith("no spread") for note in report.notes)


def test_videos_that_begin_with_nothing_are_left_out_by_name():
    truth = squares()
    truth[0, :4] = 0.1  # the first of ten chunks is flat
    report = judged(truth, truth)
    assert any("vde_sharpness leaves out 1 videos" in note for note in report.notes)
    assert math.isfinite(report.values["vde_sharpness"])


def test_shorter_videos_are_left_out():
    truth = squares()
    suite = LongSuite()
    for frames in (30, 40, 10):
        part = truth[:, :frames]
        suite.update(part[:, None], part, {"video": (part * 255).to(torch.uint8)})
    report = suite.compute()
    assert report.curves["psnr"].shape == (30,)
    assert "6 videos left out: shorter than the first, which has 30 frames" in report.notes


def test_the_background_counts_and_small_things_that_move_do_not():
    """On frames of 8x8: a room that darkens behind a dot that is in the wrong place."""
    truth = torch.rand(2, 40, 3, 8, 8, generator=torch.Generator().manual_seed(0))[:, :1].expand(
        -1, 40, -1, -1, -1
    )
    dot, fade = truth.clone(), truth.clone()
    for t in range(40):
        dot[:, t, :, t % 8, 0] = 1.0
        fade[:, t] = fade[:, t] * (1 - t / 80)
    values = {}
    for name, video in (("dot", dot), ("fade", fade)):
        suite = LongSuite()
        suite.update(video[:, None], truth.contiguous(), {})
        values[name] = suite.compute().values
    assert values["dot"]["background"] == values["dot"]["delta_background"] == 0
    assert values["fade"]["first_background"] < 0.005 < 0.02 < values["fade"]["last_background"]
    wanted = values["fade"]["last_background"] - values["fade"]["first_background"]
    assert values["fade"]["delta_background"] == pytest.approx(wanted)
