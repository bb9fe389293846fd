"""Parsers find what the renderer drew, to the figures known of PhyWorld's."""

import numpy as np
import pytest
import torch

from components.metrics.ball_parser import (
    Tracks,
    fill_missing,
    fully_visible,
    out_of_sight,
    parse_paper,
    parse_soft,
    parse_unbiased,
    true_tracks,
)
from components.metrics.physics import ball_truth
from components.metrics.physics_motion import mean_velocity_error
from datamodules.ball_renderer import render_balls
from datamodules.bouncing_balls import BouncingBalls

PARSERS = (parse_paper, parse_unbiased, parse_soft)


def frames(centres, radii, height=64, width=64, softness=0.03):
    """One frame for each row of centres, in world units."""
    video = render_balls(
        np.array(centres) / 10, np.array(radii) / 10, height=height, width=width, softness=softness
    )
    return torch.from_numpy(video).float().div(255).unsqueeze(0)


def floor(parser, size, softness, clips):
    """Mean of |mean v - v| of true videos of uniform motion: what a perfect model would be told."""
    source = BouncingBalls(
        worlds=["uniform"], num_frames=32, height=size, width=size, seed=0, softness=softness
    )
    value = weight = 0.0
    for index in range(clips):
        clip = source.clip("val", index)
        truth = ball_truth(clip["state"][None], torch.tensor([0.1]), first=2)
        tracks = parser(clip["video"][None, 2:].float() / 255, softness=softness)
        found = mean_velocity_error(tracks, truth)
        value, weight = value + float(found[0]), weight + float(found[1])
    return value / weight


@pytest.mark.parametrize(
    ("size", "clips", "paper", "unbiased"),
    [(64, 60, 0.044, 0.0047), (128, 40, 0.021, 0.0013), (256, 20, 0.011, 0.0005)],
)
def test_floors_are_those_known_of_phyworld(size, clips, paper, unbiased):
    assert floor(parse_paper, size, 0.03, clips) == pytest.approx(paper, rel=0.3)
    assert floor(parse_unbiased, size, 0.03, clips) == pytest.approx(unbiased, rel=0.3)


@pytest.mark.parametrize(("softness", "gain"), [(0.03, 1.0), (0.5, 4.0)])
def test_soft_edges_lower_the_floor(softness, gain):
    soft, hard = (floor(parser, 48, softness, 40) for parser in (parse_soft, parse_unbiased))
    assert gain * soft < hard


@pytest.mark.parametrize("parser", [parse_unbiased, parse_soft])
@pytest.mark.parametrize("softness", [0.03, 0.5])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 96)])
def test_places_and_radii_are_found(parser, softness, height, width):
    rng = np.random.default_rng(0)
    centres = np.stack((rng.uniform(2, 4, (30, 2)), rng.uniform(6, 8, (30, 2))), axis=1)
    tracks = parser(frames(centres, [1.3, 0.8], height, width, softness), softness=softness)
    sharp = softness < 0.1 or parser is parse_unbiased
    tolerance = (0.3 if sharp else 0.05) * 10 / min(height, width)
    assert (tracks.centre[0] - torch.from_numpy(centres)).abs().max() < tolerance
    assert (tracks.radius[0] - torch.tensor([1.3, 0.8])).abs().max() < tolerance
    assert (tracks.count == 1).all()


def test_the_papers_width_shrinks_the_world():
    video = frames([[[6.0, 3.0]]], [1.0])
    paper, unbiased = parse_paper(video, softness=0.03), parse_unbiased(video, softness=0.03)
    torch.testing.assert_close(paper.centre[..., 0, :] * 64 / 63, unbiased.centre[..., 0, :])


@pytest.mark.parametrize("parser", PARSERS)
def test_balls_that_are_not_there_are_not_found(parser):
    tracks = parser(frames([[[5.0, 5.0]], [[-9.0, 5.0]]], [1.0]), softness=0.03)
    assert tracks.radius.isnan().tolist() == [[[False, True], [True, True]]]
    assert tracks.centre.isnan().any(dim=-1).tolist() == [[[False, True], [True, True]]]
    assert tracks.count.tolist() == [[[1, 0], [0, 0]]]


def test_noise_does_not_pull_the_soft_centre():
    clean = frames([[[2.5, 7.0]]], [1.0], softness=0.5)
    noise = 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = parse_soft((clean + noise).clamp(0, 1), softness=0.5)
    assert (found.centre[0, 0, 0] - torch.tensor([2.5, 7.0])).norm() < 0.02


@pytest.mark.parametrize("size", [32, 50, 128])
def test_bodies_are_counted_by_piece(size):
    video = torch.ones(1, 1, 3, size, size)
    step = size // 8
    for x, y in ((1, 1), (5, 1), (5, 6)):
        video[..., 1:, y * step : (y + 1) * step, x * step : (x + 1) * step] = 0
    video[..., :2, 4 * step : 5 * step, step : 7 * step] = 0  # a blue bar
    assert parse_soft(video, softness=0.03).count.tolist() == [[[3, 1]]]


def test_a_winding_body_is_one():
    video = torch.ones(1, 1, 3, 32, 32)
    video[..., 1:, 2::4, 2:30] = 0
    for i, row in enumerate(range(2, 27, 4)):
        video[..., 1:, row : row + 4, 29 if i % 2 else 2] = 0
    assert parse_soft(video, softness=0.03).count[0, 0, 0] == 1


def test_missing_balls_go_to_the_papers_borders():
    nan = float("nan")
    centre = torch.tensor([[[[3.0, 4.0], [7.0, 5.0]], [[nan, nan], [nan, nan]]]] * 2, dtype=torch.float64)
    radius = torch.tensor([[[1.0, 0.5], [nan, nan]]] * 2, dtype=torch.float64)
    tracks = Tracks(centre, radius, (~radius.isnan()).long())
    filled = fill_missing(tracks, torch.tensor([[True, True], [True, False]]))
    assert filled.centre[0, 1].tolist() == [[0.0, 4.0], [10.0, 5.0]]
    assert filled.centre[1, 1, 0].tolist() == [10.0, 4.0]
    assert filled.radius[0, 1].tolist() == [1.0, 0.5]
    torch.testing.assert_close(filled.centre[:, 0], centre[:, 0])
    assert filled.centre[1, 1, 1, 0].isnan()
    assert filled.count is tracks.count


def test_true_tracks_are_the_states():
    state = torch.zeros(1, 3, 10, dtype=torch.float64)
    for i, x in enumerate((1.0, 0.5, -1.5)):
        state[0, i, :5] = torch.tensor([x, 5.0, -2.0, 0.0, 1.0])
    tracks = true_tracks(state)
    assert tracks.centre[0, :, 0].tolist() == [[1.0, 5.0], [0.5, 5.0], [-1.5, 5.0]]
    assert tracks.radius[0, :, 1].isnan().all()
    assert fully_visible(tracks)[0].tolist() == [[True, False], [False, False], [False, False]]
    assert out_of_sight(tracks)[0].tolist() == [[False, False], [False, False], [True, False]]
    assert tracks.count[0].tolist() == [[1, 0], [1, 0], [0, 0]]
