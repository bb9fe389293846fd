"""Worlds of a few pixels: rooms that drift, colours to recall, views that come back."""

import numpy as np
import pytest
import torch

from datamodules import ClipSource, SourceError
from datamodules.flash_recall import FlashRecall
from datamodules.pan_and_return import PanAndReturn
from datamodules.sprite_room import SpriteRoom

SHAPE = {"num_frames": 24, "height": 8, "width": 8, "seed": 0}
MAKES = [SpriteRoom, FlashRecall, lambda **shape: PanAndReturn(**shape, turn=7)]


@pytest.mark.parametrize("make", MAKES)
def test_clips_are_functions_of_split_and_index(make):
    source = make(**SHAPE)
    assert isinstance(source, ClipSource)
    train, test = source.split("train"), source.split("test")
    assert torch.equal(train[3]["video"], make(**SHAPE).split("train")[3]["video"])
    assert train[3]["video"].shape == (24, 3, 8, 8)
    assert train[3]["video"].dtype == torch.uint8
    others = (train[4], test[3], make(**SHAPE | {"seed": 1}).split("train")[3])
    assert not any(torch.equal(train[3]["video"], other["video"]) for other in others)
    assert train[3]["id"] != test[3]["id"]


@pytest.mark.parametrize("make", [SpriteRoom, lambda **shape: PanAndReturn(**shape, turn=7)])
def test_a_longer_clip_begins_with_the_shorter_one(make):
    short, long = (make(**SHAPE | {"num_frames": n}).split("test")[5]["video"] for n in (24, 100))
    assert torch.equal(short, long[:24])


@pytest.mark.parametrize("background", ["palette", "continuous"])
def test_nothing_but_the_sprite_moves(background):
    source = SpriteRoom(**SHAPE | {"num_frames": 200}, background=background)
    video = source.split("train")[1]["video"].float() / 255
    room = video.median(dim=0).values
    apart = ((video - room).abs().amax(dim=1) > 0).flatten(1).sum(dim=1)
    assert apart.max() <= 4
    white = (video == 1).all(dim=1).flatten(1).sum(dim=1)
    assert (white >= 4).all()
    assert not torch.equal(video[0], video[1])


def test_pixels_of_a_palette_cluster_and_share_their_colours():
    source = SpriteRoom(**SHAPE, colours=4, noise=0.01)
    for split in ("train", "test"):
        room = source.split(split)[0]["video"][0].float().numpy().reshape(3, -1).T / 255
        nearest = np.abs(room[:, None] - source.palette).max(axis=2).min(axis=1)
        assert (nearest < 0.05).mean() > 0.9


def test_a_room_that_scrolls_comes_round():
    still, moving = (SpriteRoom(**SHAPE, scroll=scroll).split("test")[0]["video"] for scroll in (0.0, 0.5))
    long = SpriteRoom(**SHAPE | {"num_frames": 49}, scroll=0.5).split("test")[0]["video"]
    kept = (long[0] == long[48]).all(dim=0).sum()  # 24 pixels are three times round
    assert kept >= 64 - 8
    assert (moving[0] != moving[2]).any(dim=0).sum() > 32
    assert (still[0] != still[2]).any(dim=0).sum() <= 8


def test_the_colour_that_flashed_shows_again():
    clips = FlashRecall(**SHAPE, section=4, farthest=18).split("train")
    seen = set()
    for index in range(200):
        clip = clips[index]
        video, ago = clip["video"].float() / 255, int(clip["state"][0, 0])
        seen.add(ago)
        assert torch.equal(video[21], video[20 - ago])
        assert torch.equal(video[22], video[23])
        quiet = torch.cat([video[: 20 - ago], video[21 - ago : 21]])
        assert abs(float(quiet.mean()) - 0.5) < 0.01
        assert (quiet - 0.5).abs().max() < 0.2
    assert seen == set(range(1, 19))


def test_a_view_comes_back_to_what_it_showed():
    video = PanAndReturn(**SHAPE, turn=7).split("train")[0]["video"]
    for n in range(8):
        assert torch.equal(video[7 + n], video[7 - n])
    assert torch.equal(video[14:], video[:10])
    assert torch.equal(video[1, :, :, :-1], video[0, :, :, 1:])


@pytest.mark.parametrize(
    ("make", "changes", "told"),
    [
        (SpriteRoom, {"height": 2}, "3x3 or more"),
        (SpriteRoom, {"colours": 0}, "0 colours"),
        (SpriteRoom, {"noise": float("nan")}, "noise nan"),
        (SpriteRoom, {"scroll": float("inf")}, "scroll inf"),
        (FlashRecall, {"section": 1}, "section of 2 or more"),
        (FlashRecall, {"farthest": 21}, "one up to 21 before"),
        (FlashRecall, {"num_frames": 4}, "frames before it"),
        (FlashRecall, {"height": 0}, "0x8"),
        (PanAndReturn, {"turn": 0}, "turn 0"),
    ],
)
def test_mistakes_are_told_in_a_line(make, changes, told):
    with pytest.raises(SourceError, match=told) as error:
        make(**({**SHAPE, "turn": 5} if make is PanAndReturn else SHAPE) | changes)
    assert "\n" not in str(error.value)
