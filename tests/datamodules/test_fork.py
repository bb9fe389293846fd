"""The disc moves by its law, its futures are all there, and the context tells nothing of the turn."""

import pickle

import numpy as np
import pytest
import torch

from datamodules import ClipSource, SourceError
from datamodules.drawn_clips import numbers_of
from datamodules.fork import Fork


def fork(num_frames=8, size=32, seed=0, **settings):
    return Fork(num_frames=num_frames, height=size, width=size, seed=seed, **settings)


@pytest.mark.parametrize("directions", [2, 8])
def test_the_clip_is_one_of_its_futures_and_each_comes_as_often(directions):
    source = fork(directions=directions)
    taken = []
    for i in range(100):
        futures, video = source.futures("train", i), source.clip("train", i)["video"]
        assert futures.shape == (directions, 8, 3, 32, 32)
        same = (futures == video).flatten(1).all(1)
        assert same.sum() == 1
        taken.append(int(same.nonzero()))
    counts = np.bincount(taken, minlength=directions)
    assert (abs(counts - 100 / directions) < 4 * np.sqrt(100 / directions)).all()


@pytest.mark.parametrize(("directions", "straight"), [(2, 2), (2, 4), (8, 3)])
def test_futures_part_right_after_the_straight_frames(directions, straight):
    source = fork(directions=directions, straight=straight)
    for i in range(5):
        futures = source.futures("val", i)
        assert (futures[:, :straight] == futures[:1, :straight]).all()
        after = futures[:, straight].flatten(1)
        assert len(after.unique(dim=0)) == directions


def test_it_turns_by_90_degrees_at_constant_speed_and_in_view():
    source = fork(speed=1.5)
    headings = set()
    for i in range(60):
        path = source.split("train")[i]["state"].numpy()
        steps = np.diff(path, axis=0)
        np.testing.assert_allclose(np.hypot(*steps.T), 1.5, atol=1e-12)
        np.testing.assert_allclose(steps[1:], np.broadcast_to(steps[1], (6, 2)), atol=1e-12)
        np.testing.assert_allclose(steps[0] @ steps[1], 0, atol=1e-12)
        assert (path >= source.radius - 1e-9).all()
        assert (path <= 31 - source.radius + 1e-9).all()
        headings.add((*(steps[0] / 1.5).round(), *(steps[1] / 1.5).round()))
    assert len(headings) == 8  # four ways to come, two ways to go


def test_eight_directions_are_eight_compass_points():
    source = fork(directions=8, speed=2.0)
    _, paths = source._fork(numbers_of("test", source.seed, 1))
    angles = np.sort(np.degrees(np.arctan2(*(paths[:, 3] - paths[:, 2]).T)).round() % 360)
    np.testing.assert_allclose(np.diff(angles), 45)


def test_renders_are_exact():
    """One pixel's motion moves the whole texture by one pixel, and uncovers the ground as it was."""
    source = fork(speed=1.0)
    for i in range(10):
        clip = source.clip("train", i)
        (x, y), (dx, dy) = clip["state"][2].tolist(), (clip["state"][3] - clip["state"][2]).int().tolist()
        moved = clip["video"][2].roll((dy, dx), dims=(1, 2))
        rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        distance = torch.hypot(columns - x - dx, rows - y - dy)
        inside = distance < source.radius - 0.5
        assert (clip["video"][3][:, inside] == moved[:, inside]).all()
    ground = torch.stack([source.clip("train", i)["video"] for i in range(10)]).amin(dim=(0, 1))
    state = source.clip("val", 0)["state"][0]
    apart = torch.hypot(columns - state[0], rows - state[1]) > source.radius + 0.5
    assert (source.clip("val", 0)["video"][0][:, apart] == ground[:, apart]).float().mean() > 0.95


def test_controlled_the_actions_make_the_path_at_any_length():
    short, long = fork(controlled=True), fork(num_frames=80, controlled=True)
    seen = []
    for i in range(20):
        clip, longer = short.split("train")[i], long.split("train")[i]
        moved = clip["state"][:1] + clip["actions"].double().cumsum(0)
        torch.testing.assert_close(clip["state"][1:], moved, atol=1e-9, rtol=0)
        assert (longer["video"][:8] == clip["video"]).all()
        assert (longer["state"] >= long.radius).all()
        assert (longer["state"] <= 31 - long.radius).all()
        assert (short.futures("train", i) == clip["video"]).all()
        seen += [tuple(a) for a in longer["actions"].tolist()]
    assert set(seen) == {(1.5, 0), (0, 1.5), (-1.5, 0), (0, -1.5), (0, 0)}
    assert min(seen.count(action) for action in set(seen)) > 0.1 * len(seen)


def test_the_caption_does_not_tell_the_turn():
    source = fork()
    captions = {}
    for i in range(80):
        clip = source.clip("train", i)
        turn = tuple(((clip["state"][2] - clip["state"][1]) / 1.5).round().int().tolist())
        captions.setdefault(clip["text"], set()).add(turn)
    assert "A textured disc moves right, then turns left or right." in captions
    assert [len(turns) for turns in captions.values()] == [2, 2, 2, 2]


@pytest.mark.parametrize("controlled", [False, True])
def test_clip_matches_its_spec(controlled):
    source = Fork(num_frames=5, height=24, width=40, seed=3, controlled=controlled)
    spec, clip = source.spec(), source.split("val")[9]
    assert isinstance(source, ClipSource)
    assert (clip["video"].shape, clip["video"].dtype) == ((5, 3, 24, 40), torch.uint8)
    assert (clip["state"].shape, clip["state"].dtype) == ((5, spec.state_dim), torch.float64)
    assert ("actions" in clip) == bool(spec.action_dim) == controlled
    if controlled:
        assert (clip["actions"].shape, clip["actions"].dtype) == ((4, len(spec.action_names)), torch.float32)
    assert clip["id"] == f"fork/{'controlled/' * controlled}seed3/val/9"


def test_a_clip_is_a_function_of_seed_split_and_index():
    source = fork()
    before = torch.get_rng_state()
    forward = [source.split("train")[i]["video"] for i in range(6)]
    copy = pickle.loads(pickle.dumps(source.split("train")))
    assert all((copy[i]["video"] == forward[i]).all() for i in (5, 0, 3))
    assert (torch.get_rng_state() == before).all()
    others = [
        fork(seed=s).split(split)[i] for s in (0, 1) for split in ("train", "val", "test") for i in range(20)
    ]
    assert len({clip["state"].numpy().tobytes() for clip in others}) == len(others)
    assert len({clip["id"] for clip in others}) == len(others)
    with pytest.raises(IndexError):
        source.split("val")[1_000]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_frames": 1}, "give at least 2 frames of 16x16"),
        ({"size": 8}, "give at least 2 frames of 16x16"),
        ({"straight": 0}, "at least 1 frame before the turn"),
        ({"speed": 0.0}, "pixels a frame above 0"),
    ],
)
def test_mistakes_are_told_in_a_line(settings, says):
    with pytest.raises(SourceError, match=says) as error:
        fork(**settings)
    assert "\n" not in str(error.value)
