import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import evaluation.video as module
from components.metrics.lpips import lpips_available
from components.metrics.psnr import psnr
from evaluation import Report, Suite, Timing
from evaluation.long import LongSuite
from evaluation.video import VideoSuite
from tests.processes import free_port

ROOT = Path(__file__).parents[2]


class Means:
    """In a video network's place: the mean of each third of the time, for each colour."""

    distance = "FVD-M"
    dim = 9
    min_frames = 3

    def __call__(self, video: Tensor) -> Tensor:
        return torch.cat([part.mean(dim=(1, 3, 4)) for part in video.tensor_split(3, dim=1)], dim=1)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """As on a machine without any network."""
    monkeypatch.setattr(module, "lpips_available", lambda: False)
    monkeypatch.setattr(module, "transnet_available", lambda: False)


def batch(b: int = 4, n: int = 3, t: int = 6, side: int = 16) -> tuple[Tensor, Tensor, dict]:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.rand(b, n, t, 3, side, side, generator=generator)
    truth = torch.rand(b, t, 3, side, side, generator=generator)
    return predicted, truth, {"video": torch.zeros(b, t + 2, 3, side, side, dtype=torch.uint8)}


def judged(suite: Suite, predicted: Tensor, truth: Tensor, pieces: int = 1) -> Report:
    for future, true in zip(predicted.chunk(pieces), truth.chunk(pieces), strict=True):
        suite.update(future, true, {"video": (true * 255).to(torch.uint8)})
    return suite.compute()


def test_it_is_a_suite():
    suite = VideoSuite(samples=4)
    assert isinstance(suite, Suite)
    assert (suite.samples, suite.horizon, suite.groups) == (4, 1.0, {"test": {}})
    with pytest.raises(ValueError, match="at least 1"):
        VideoSuite(samples=0)


def test_the_truth_itself_gets_the_best_of_everything():
    _, truth, _ = batch()
    suite = VideoSuite()
    suite.features = Means()
    report = judged(suite, truth[:, None].repeat(1, 2, 1, 1, 1, 1), truth)
    values = report.values
    assert {name: round(value, 6) for name, value in values.items()} == {
        "psnr_best": 100,
        "psnr_mean": 100,
        "psnr_worst": 100,
        "ssim_best": 1,
        "ssim_mean": 1,
        "ssim_worst": 1,
        "diversity_absolute_difference": 0,
        "fvd_m": 0,
    }
    assert set(report.curves) == {f"{m}_{w}" for m in ("psnr", "ssim") for w in ("best", "mean", "worst")}
    assert all(curve.shape == (6,) for curve in report.curves.values())


def test_batches_of_any_size_give_the_same_report():
    predicted, truth, _ = batch()
    whole, pieces = VideoSuite(), VideoSuite()
    whole.features = pieces.features = Means()
    one, other = judged(whole, predicted, truth), judged(pieces, predicted, truth, pieces=3 - 1)
    assert one.values == pytest.approx(other.values, rel=1e-6)
    for name, curve in one.curves.items():
        torch.testing.assert_close(curve, other.curves[name])
    whole.reset()
    assert judged(whole, predicted, truth).values == pytest.approx(one.values, rel=1e-6)


def test_values_are_what_they_say():
    predicted, truth, _ = batch()
    report = judged(VideoSuite(), predicted, truth)
    means = torch.stack([psnr(predicted[:, i], truth).mean(dim=1) for i in range(3)], dim=1)
    assert report.values["psnr_best"] == pytest.approx(means.amax(dim=1).mean().item(), rel=1e-6)
    assert report.values["psnr_worst"] == pytest.approx(means.amin(dim=1).mean().item(), rel=1e-6)
    consecutive = (predicted[:, 1:] - predicted[:, :-1]).abs().mean().item()
    assert report.values["diversity_absolute_difference"] == pytest.approx(consecutive, rel=1e-5)


def test_an_expanded_future_counts_as_many_equal_ones():
    predicted, truth, _ = batch()
    expanded = predicted[:, :1].expand(-1, 5, -1, -1, -1, -1)
    copied = predicted[:, :1].repeat(1, 5, 1, 1, 1, 1)
    one, other = judged(VideoSuite(), expanded, truth), judged(VideoSuite(), copied, truth)
    assert one.values == pytest.approx(other.values, rel=1e-6)
    assert one.values["diversity_absolute_difference"] == 0


def test_what_is_left_out_is_said_in_one_line_each():
    predicted, truth, _ = batch(b=1, n=1, t=2, side=8)
    report = judged(VideoSuite(), predicted, truth)
    assert set(report.values) == {"psnr_best", "psnr_mean", "psnr_worst"}
    assert [note.split(":")[0] for note in report.notes] == [
        "no SSIM",
        "no LPIPS",
        "no diversity",
        "no Frechet distance",
    ]
    assert all("\n" not in note for note in report.notes)


def test_no_frechet_number_without_enough_frames_or_clips():
    predicted, truth, _ = batch(t=2)
    suite = VideoSuite()
    suite.features = Means()
    report = judged(suite, predicted, truth)
    assert "fvd_m" not in report.values
    assert "no FVD-M: it needs 3 predicted frames, got 2" in report.notes
    predicted, truth, _ = batch(b=1)
    suite.reset()
    report = judged(suite, predicted, truth)
    assert "fvd_m" not in report.values
    assert "no FVD-M: it needs at least 2 clips, got 1" in report.notes


def test_a_few_clips_come_with_a_warning():
    predicted, truth, _ = batch()
    suite = VideoSuite()
    suite.features = Means()
    report = judged(suite, predicted, truth)
    assert report.values["fvd_m"] > 0
    assert any("biased upwards" in note for note in report.notes)


def test_longer_videos_are_cut_and_shorter_ones_left_out():
    predicted, truth, clip = batch()
    suite = VideoSuite()
    for frames in (4, 6, 3):
        suite.update(predicted[:, :, :frames], truth[:, :frames], clip)
    report, alone = suite.compute(), judged(VideoSuite(), predicted[:, :, :4], truth[:, :4])
    assert report.values == pytest.approx(alone.values, rel=1e-6)
    assert "4 videos left out: shorter than the first, which has 4 frames" in report.notes


def test_a_file_that_is_not_i3d_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        VideoSuite(i3d=tmp_path / "nothing.pt")


@pytest.mark.skipif(not lpips_available(), reason="LPIPS weights are not installed")
def test_with_lpips_diversity_is_lpips(monkeypatch):
    monkeypatch.undo()
    predicted, truth, _ = batch(b=1, n=2, t=1, side=32)
    values = judged(VideoSuite(), predicted, truth).values
    assert values["lpips_best"] <= values["lpips_mean"] <= values["lpips_worst"]
    assert values["diversity_lpips"] > 0


WORKER = """
import json, sys
import torch
import torch.distributed as dist
import evaluation.video as module
from tests.evaluation.test_video import reports

torch.set_num_threads(1)
module.lpips_available = module.transnet_available = lambda: False
rank, port = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
found = reports(range(2) if rank == 0 else range(2, 5))
if rank == 0:
    print(json.dumps([[r.values, {k: v.tolist() for k, v in r.curves.items()}] for r in found]))
dist.barrier()  # a process that ends while the other still talks to it aborts
dist.destroy_process_group()
"""


def reports(clips: range) -> list[Report]:
    """What both suites say of some of the same five clips."""
    predicted, truth, clip = batch(b=5, t=30)
    found = []
    for suite in (VideoSuite(), LongSuite()):
        if isinstance(suite, VideoSuite):
            suite.features = Means()
        for i in clips:
            timing = Timing(torch.arange(30) + 1.0 + i, torch.full((30,), 1e6 * (1 + i)))
            suite.update(predicted[i : i + 1], truth[i : i + 1], clip, timing)
        found.append(suite.compute())
    return found


def test_two_processes_report_what_one_does():
    port = free_port()
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    alone = reports(range(5))
    together = json.loads(workers[0].communicate(timeout=90)[0])
    assert workers[1].wait(timeout=90) == 0
    for expected, (values, curves) in zip(alone, together, strict=True):
        assert values == pytest.approx(expected.values, rel=1e-5)
        for name, curve in expected.curves.items():
            assert curves[name] == pytest.approx(curve.tolist(), rel=1e-5)
