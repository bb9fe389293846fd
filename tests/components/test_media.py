import io

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from components.media import (
    GIVEN,
    PAPER,
    PREDICTED,
    enlarge,
    film_strip,
    gif_bytes,
    side_by_side,
    write_gif,
    write_mp4,
    write_png,
)


def smooth(t: int = 6, h: int = 40, w: int = 52) -> Tensor:
    """Colours that change gently over space and time, which compression keeps."""
    time, y, x = (torch.linspace(0, 1, n) for n in (t, h, w))
    red = x.expand(t, h, w)
    green = y[:, None].expand(t, h, w)
    blue = time[:, None, None].expand(t, h, w)
    return (torch.stack((red, green, blue), dim=1) * 200 + 20).to(torch.uint8)


def frames_of(gif: bytes) -> Tensor:
    images = ImageSequence.Iterator(Image.open(io.BytesIO(gif)))
    return torch.stack([torch.from_numpy(np.array(i.convert("RGB"))).permute(2, 0, 1) for i in images])


@pytest.mark.parametrize(("h", "w"), [(40, 52), (41, 53)])
def test_mp4_reads_back(tmp_path, h, w):
    video = smooth(h=h, w=w)
    write_mp4(tmp_path / "v.mp4", video, fps=7.5)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 7.5
        decoded = list(container.decode(stream))
    assert [frame.key_frame for frame in decoded] == [True, False] * 3
    read = torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")).permute(2, 0, 1) for f in decoded])
    assert read.shape[-2:] == (h + h % 2, w + w % 2)
    assert (read[..., :h, :w].float() - video.float()).abs().mean() < 3


def test_gif_plays_for_ever_at_its_speed():
    image = Image.open(io.BytesIO(gif_bytes(smooth(), fps=10.0)))
    assert (image.n_frames, image.info["loop"], image.info["duration"]) == (6, 0, 100)
    assert Image.open(io.BytesIO(gif_bytes(smooth(), fps=200.0))).info["duration"] == 20


def test_gif_keeps_colours(tmp_path):
    few = torch.randint(0, 8, (4, 1, 20, 24), generator=torch.Generator().manual_seed(0))
    few = (few * torch.tensor([30, 17, 5])[:, None, None]).to(torch.uint8)
    write_gif(tmp_path / "v.gif", few, fps=5.0)
    assert torch.equal(frames_of((tmp_path / "v.gif").read_bytes()), few)
    many = smooth(t=3)
    assert (frames_of(gif_bytes(many, fps=5.0)).float() - many.float()).abs().mean() < 8


def test_enlarging_repeats_pixels():
    video = smooth(h=32, w=64)
    large = enlarge(video)
    assert large.shape[-2:] == (128, 256)
    assert torch.equal(large[..., ::4, ::4], video)
    assert torch.equal(large[..., 3::4, 3::4], video)
    assert enlarge(smooth(h=240, w=300)).shape[-2:] == (240, 300)


def corner_colours(video: Tensor) -> list[tuple[int, ...]]:
    """Colour of each frame's border at its bottom left, below the label."""
    return [tuple(frame[:, 30, 0].tolist()) for frame in video]


def test_borders_tell_given_from_predicted():
    rows = [("truth", smooth()), ("sample 1", smooth())]
    video = side_by_side(rows, context_frames=2, truths=1)
    assert len(video) == 6
    half = video.shape[-1] // 2
    assert corner_colours(video[..., :half]) == [GIVEN] * 6
    assert corner_colours(video[..., half:]) == [GIVEN] * 2 + [PREDICTED] * 4
    assert video[..., :14, :40].float().std() > 0  # a label is written


def test_a_short_truth_leaves_its_place_white():
    video = side_by_side([("truth", smooth(t=3)), ("sample", smooth(t=6))], context_frames=2, truths=1)
    assert len(video) == 6
    left = video[3:, :, :, : video.shape[-1] // 2]
    assert torch.all(left[..., 20:, :] == PAPER)


def test_film_strip_has_a_row_a_video(tmp_path):
    rows = [("truth", smooth()), ("sample 1", smooth()), ("sample 2", smooth(t=4))]
    strip = film_strip(rows, context_frames=2, truths=1)
    side, one = side_by_side(rows[:1], context_frames=2), film_strip(rows[:1], context_frames=2)
    assert strip.shape == (3, 3 * one.shape[1], 6 * side.shape[-1])
    write_png(tmp_path / "strip.png", strip)
    assert np.array_equal(np.array(Image.open(tmp_path / "strip.png")), strip.permute(1, 2, 0).numpy())
