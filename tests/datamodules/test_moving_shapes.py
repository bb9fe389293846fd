"""Captions, questions and states tell what the pixels show, and the pixels can be read back."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datamodules import ClipSource, SourceError
from datamodules.batches import collate
from datamodules.moving_shapes import COLOURS, DIRECTIONS, GROUND, QUESTIONS, SHAPES, MovingShapes, describe


def shapes(num_frames=8, size=32, seed=0, **settings):
    return MovingShapes(num_frames=num_frames, height=size, width=size, seed=seed, **settings)


@pytest.fixture(scope="module")
def clips():
    clips = shapes().split("train")
    return [clips[i] for i in range(720)]


@pytest.fixture(scope="module")
def video(clips):
    return torch.stack([clip["video"] for clip in clips]).float() / 255


def right(video, clips):
    return np.mean([said == clip["text"] for said, clip in zip(describe(video), clips, strict=True)])


def test_every_caption_comes_as_often(clips):
    texts = Counter(clip["text"] for clip in clips)
    every = {f"a {c} {s} moves {d}" for c in COLOURS for s in SHAPES for d in DIRECTIONS}
    assert len(every) == 72
    assert set(texts) == every
    assert sum((count - 10) ** 2 / 10 for count in texts.values()) < 114  # chi square, 71 degrees, p 0.001


def test_answers_are_the_words_of_the_caption(clips):
    place = dict(zip(QUESTIONS, (1, 2, 4), strict=True))
    assert all(clip["answer"] == clip["text"].split()[place[clip["question"]]] for clip in clips)
    assert min(Counter(clip["question"] for clip in clips).values()) > 180


def test_the_centre_moves_as_told_at_its_speed_and_the_shape_stays_in_view(clips, video):
    for clip in clips:
        motion = np.array(DIRECTIONS[clip["text"].split()[-1]])
        np.testing.assert_allclose(np.diff(clip["state"], axis=0), [1.5 * motion] * 7, atol=1e-12)
    rim = torch.cat([video[..., 0, :], video[..., -1, :], video[..., 0], video[..., -1]], dim=-1)
    assert rim.max() <= GROUND + 1 / 255


def test_the_state_is_the_centre_of_mass_and_all_shapes_have_the_same_area(clips, video):
    for clip, pixels in zip(clips[:100], video, strict=False):
        colour = torch.tensor(COLOURS[clip["text"].split()[1]])
        cover = (pixels.amax(1) - GROUND) / (colour.max() - GROUND)
        rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        centre = torch.stack([(cover * columns).sum((1, 2)), (cover * rows).sum((1, 2))], -1)
        area = cover.sum((1, 2))
        torch.testing.assert_close(centre / area[:, None], clip["state"].float(), atol=0.3, rtol=0)
        assert ((area - np.pi * 4.8**2).abs() < 4).all()


def test_renders_are_exact():
    """A motion by whole pixels moves the picture by whole pixels."""
    source = shapes(speed=1.0)
    for i in range(30):
        clip = source.clip("val", i)
        dx, dy = (clip["state"][1] - clip["state"][0]).int().tolist()
        assert (clip["video"][1:] == clip["video"][:-1].roll((dy, dx), dims=(2, 3))).all()


def test_captions_are_read_back_from_clean_pixels(clips, video):
    assert right(video[:360], clips[:360]) == 1.0


@pytest.mark.parametrize(
    ("num_frames", "height", "speed", "size"), [(2, 16, 1.0, 0.15), (4, 24, 2.0, 0.15), (12, 48, 0.5, 0.1)]
)
def test_captions_are_read_back_at_other_sizes(num_frames, height, speed, size):
    source = MovingShapes(
        num_frames=num_frames, height=height, width=height + 8, seed=1, speed=speed, size=size
    )
    clips = [source.clip("test", i) for i in range(100)]
    assert right(torch.stack([clip["video"] for clip in clips]).float() / 255, clips) == 1.0


def test_captions_are_read_back_through_noise_and_blur(clips, video):
    clips, video = clips[:120], video[:120]
    noise = 0.1 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    assert right((video + noise).clamp(0, 1), clips) >= 0.99
    for size in (3, 5):
        blurred = F.avg_pool2d(
            video.flatten(0, 2)[:, None], size, 1, size // 2, count_include_pad=False
        ).view_as(video)
        assert right(blurred, clips) >= 0.99
        assert right((blurred + noise / 2).clamp(0, 1), clips) >= 0.99
    assert right(video * 0.85, clips) >= 0.99  # darker than any clip


def test_what_is_not_there_is_not_described(clips, video):
    empty = torch.full((1, 8, 3, 32, 32), GROUND)
    assert describe(torch.cat([empty, torch.zeros_like(empty), empty + 0.02])) == ["nothing"] * 3
    resting = video[:20, :1].expand(-1, 8, -1, -1, -1)
    told = [clip["text"].rsplit(" ", 1)[0] + " nowhere" for clip in clips[:20]]
    assert describe(resting) == told
    gone = video[:20].clone()
    gone[:, 3:5] = GROUND  # two frames without it do not change what it is nor where it goes
    assert right(gone, clips[:20]) == 1.0


def test_clip_matches_its_spec():
    source = MovingShapes(num_frames=5, height=24, width=40, seed=3)
    spec, clip = source.spec(), source.split("val")[9]
    assert isinstance(source, ClipSource)
    assert (clip["video"].shape, clip["video"].dtype) == ((5, 3, 24, 40), torch.uint8)
    assert (clip["state"].shape, clip["state"].dtype) == ((5, spec.state_dim), torch.float64)
    assert len(spec.state_names) == 2
    assert clip["id"] == "moving_shapes/seed3/val/9"
    batch = collate([clip, source.split("val")[10]])
    assert batch["question"][0] == clip["question"]
    assert len(batch["answer"]) == 2


def test_a_clip_is_a_function_of_seed_split_and_index():
    source = shapes(num_clips=50)
    before = torch.get_rng_state()
    forward = [source.split("train")[i]["video"] for i in range(6)]
    copy = pickle.loads(pickle.dumps(source.split("train")))
    assert all((copy[i]["video"] == forward[i]).all() for i in (5, 0, 3))
    assert (torch.get_rng_state() == before).all()
    others = [
        shapes(seed=s).split(split)[i]
        for s in (0, 1)
        for split in ("train", "val", "test")
        for i in range(20)
    ]
    assert len({clip["state"].numpy().tobytes() for clip in others}) == len(others)
    assert len({clip["id"] for clip in others}) == len(others)
    assert (len(source.split("train")), len(source.split("val"))) == (50, 1_000)
    with pytest.raises(IndexError):
        source.split("train")[50]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_frames": 1}, "give at least 1 clip of 2 frames of 16x16"),
        ({"size": 8}, "give at least 1 clip of 2 frames of 16x16"),
        ({"num_clips": 0}, "give at least 1 clip of 2 frames of 16x16"),
        ({"speed": 0.0}, "give numbers above 0"),
        ({"num_frames": 30}, "lead out of a 32x32 picture, which has 14.1 pixels of room"),
    ],
)
def test_mistakes_are_told_in_a_line(settings, says):
    with pytest.raises(SourceError, match=says) as error:
        shapes(**settings)
    assert "\n" not in str(error.value)
