"""Physics-IQ: masks equal OpenCV's, scores equal arithmetic by hand, and its blind spot is on record."""

import pytest
import torch
from torch import Tensor

from components.metrics.motion_mask import motion_masks, shrink_frames, shrink_masks
from components.metrics.physics_iq import (
    PhysicsIQ,
    agreement,
    original_score,
    overlap,
    stable_score,
    verified_scores,
)

# Table of the paper: spatial, spatiotemporal, weighted IoU, MSE; and what its formula gives for them
TAKES = (0.678, 0.535, 0.577, 0.002)
MODELS = {
    (0.204, 0.164, 0.137, 0.010): 27.4,  # VideoPoet multiframe
    (0.170, 0.155, 0.093, 0.013): 22.3,  # Lumiere multiframe
    (0.201, 0.115, 0.116, 0.015): 22.5,  # Runway Gen 3
    (0.141, 0.126, 0.087, 0.012): 18.8,  # VideoPoet
    (0.113, 0.173, 0.061, 0.016): 18.5,  # Lumiere
    (0.132, 0.076, 0.073, 0.021): 13.5,  # SVD
    (0.140, 0.041, 0.078, 0.014): 12.7,  # Pika 1.0
    (0.138, 0.047, 0.063, 0.030): 10.6,  # Sora
}
SCORES = ("score", "score_stable", "score_verified")


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def squares(clips: int = 3, *, speed: float = 1.0, shift: int = 0, sway: float = 0.0) -> Tensor:
    """Dark squares that cross light frames of 48x64, one a clip at its own height."""
    video = torch.full((clips, 24, 3, 48, 64), 0.9)
    for clip in range(clips):
        for t in range(24):
            x = int(4 + speed * 2 * t)
            y = int(6 + 8 * clip + shift + round(sway * (t % 3)))
            video[clip, t, :, y : y + 12, x : x + 12] = 0.2 + 0.1 * clip
    return video


def score(predicted: Tensor, truth: Tensor, second_take: Tensor | None = None) -> dict[str, float]:
    metric = PhysicsIQ()
    metric.update(predicted, truth, second_take)
    return {name: float(value) for name, value in metric.compute().items()}


def test_masks_equal_opencv():
    cv2 = pytest.importorskip("cv2")
    np = pytest.importorskip("numpy")
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(2, 12, 3, 40, 56, generator=generator)
    video = torch.nn.functional.avg_pool3d(video.transpose(1, 2), (1, 9, 9), 1, (0, 4, 4)).transpose(1, 2)
    video = ((video - 0.5) * 6 + 0.5).clamp(0, 1)
    video[1] = squares(1)[0, :12, :, :40, :56] + 0.05 * (video[1] - 0.5)
    video = (video.clamp(0, 1) * 255).round() / 255
    ours = motion_masks(video)
    for clip, mask in zip(video, ours, strict=True):
        frames = (clip * 255).round().byte().permute(0, 2, 3, 1).numpy()
        background = None
        for t, frame in enumerate(frames):
            grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (5, 5), 0)
            if background is None:
                background, expected = grey.astype(float), np.zeros_like(grey)
            else:
                cv2.accumulateWeighted(grey, background, 0.3)
                difference = cv2.absdiff(grey, cv2.convertScaleAbs(background))
                expected = cv2.threshold(difference, 10, 255, cv2.THRESH_BINARY)[1]
                expected = cv2.morphologyEx(expected, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
                expected = cv2.morphologyEx(expected, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
            assert (mask[t].numpy() == (expected > 0)).all(), t
        small = shrink_frames(clip[None], 4)[0].permute(0, 2, 3, 1).numpy()
        for frame, ours_small in zip(clip.permute(0, 2, 3, 1).numpy(), small, strict=True):
            assert np.abs(cv2.resize(frame, (14, 10)) - ours_small).max() < 1e-6
    assert 0.05 < ours.float().mean() < 0.95


def test_masks_show_what_moves():
    masks = motion_masks(squares(1))
    assert not masks[:, 0].any()
    assert masks[0, 10, 6:18, 24:36].float().mean() > 0.3
    assert not masks[0, :, 24:].any()
    assert not motion_masks(squares(1)[:, :1].repeat(1, 9, 1, 1, 1)).any()
    assert shrink_masks(masks, 4).shape == (1, 24, 12, 16)


def test_overlap_of_empty_masks():
    empty, full = torch.zeros(4, 4), torch.ones(4, 4)
    assert overlap(empty, empty) == 1
    assert overlap(empty, full) == 0
    assert overlap(full / 4, full) == 0.25


@pytest.mark.parametrize("shrink", [1, 4])
def test_the_same_video_agrees_perfectly(shrink):
    truth = squares()
    assert agreement(truth, truth, shrink=shrink).tolist() == [[1, 1, 1, 0]] * 3
    assert score(truth, truth)["score"] == 100


def test_a_second_take_as_prediction_scores_exactly_100():
    truth, take = squares(), squares(sway=2.0)
    found = score(take, truth, take)
    assert found["spatial_iou"] < 0.95
    assert [found[name] for name in SCORES] == pytest.approx([100] * 3, abs=1e-5)
    assert found["score"] == 100


def test_the_first_take_as_prediction_is_clipped_to_100():
    truth, take = squares(), squares(sway=2.0)
    found = score(truth, truth, take)
    assert [found[name] for name in SCORES] == pytest.approx([100] * 3, abs=1e-5)


def test_scores_of_the_papers_table():
    for parts, expected in MODELS.items():
        assert float(original_score(numbers(*parts), numbers(*TAKES))) == pytest.approx(expected, abs=0.06)
        assert stable_score(numbers(*parts), numbers(*TAKES)) == original_score(
            numbers(*parts), numbers(*TAKES)
        )


def test_the_stable_score_clips_each_term():
    mean, variance = numbers(0.9, 0.2, 0.2, 0.0), numbers(0.5, 0.5, 0.5, 0.01)
    assert original_score(mean, variance) == pytest.approx(100 * ((1.8 + 0.4 + 0.4) / 3 + 0.01), abs=0.01)
    assert stable_score(mean, variance) == pytest.approx(100 * (1.0 + 0.4 + 0.4) / 3, abs=0.01)


def test_the_verified_score_is_the_mean_of_four_clipped_ratios():
    value = torch.stack((numbers(0.3, 0.9, 0.25, 0.04), numbers(0.5, 0.5, 0.5, 0.0)))
    variance = torch.stack((numbers(0.6, 0.5, 0.5, 0.01), numbers(0.5, 0.5, 0.5, 0.0)))
    expected = [100 * (0.5 + 1.0 + 0.5 + 0.25) / 4, 100]
    assert verified_scores(value, variance).tolist() == pytest.approx(expected, abs=1e-5)


def test_frames_are_rounded_to_four_decimals():
    truth = torch.full((1, 3, 3, 16, 16), 0.5)
    assert agreement(truth + 0.005, truth, shrink=1)[0, 3] == 0  # 2.5e-5
    assert agreement(truth + 0.01, truth, shrink=1)[0, 3] == pytest.approx(1e-4)


def test_batches_processes_and_order_do_not_matter():
    truth, predicted, take = squares(), squares(speed=0.7), squares(sway=2.0)
    whole = score(predicted, truth, take)
    order = torch.tensor([2, 0, 1])
    parts = [PhysicsIQ(), PhysicsIQ()]
    for metric, rows in zip(parts, (order[:1], order[1:]), strict=True):
        metric.update(predicted[rows], truth[rows], take[rows])
    parts[0]._reduce_states({name: getattr(parts[1], name) for name in parts[1]._defaults})
    split = {name: float(value) for name, value in parts[0].compute().items()}
    assert split == pytest.approx(whole)


def test_without_second_takes_scores_are_a_lower_bound():
    truth, predicted, take = squares(), squares(speed=0.7), squares(sway=2.0)
    alone, normal = score(predicted, truth), score(predicted, truth, take)
    assert alone["score"] < normal["score"]
    assert alone["score_verified"] != alone["score_verified"]  # NaN


def test_it_tells_where_and_when_but_not_which_way():
    truth, take = squares(), squares(sway=1.0)
    found = {
        "static": score(truth[:, :1].expand_as(truth), truth, take)["score"],
        "elsewhere": score(squares(shift=12), truth, take)["score"],
        "backwards": score(truth.flip(1), truth, take)["score"],
    }
    assert found["static"] < 5
    assert found["elsewhere"] < 30
    assert 65 < found["backwards"] < 80  # every motion is wrong, three quarters of the score are kept
