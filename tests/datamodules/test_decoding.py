"""The right frames of any format, as a player shows them, from a bounded number of open files."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from datamodules.decoding import OpenVideos, VideoFile
from datamodules.probing import probe_video
from datamodules.video_index import open_video
from datamodules.video_splits import grid_length
from tests.media import MATRICES, numbered_frame, read_numbers, set_display_matrix, write_video

FILM = Fraction(24000, 1001)
JITTER = np.random.Generator(np.random.PCG64(0)).uniform(-0.012, 0.012, 60)
FORMATS = {
    "h264.mp4": {"codec": "libx264", "b_frames": 2},
    "h264.mov": {"codec": "libx264", "b_frames": 0, "gop": 2},
    "h264.mkv": {"codec": "libx264", "b_frames": 3, "gop": 60},
    "h264.ts": {"codec": "libx264", "b_frames": 2},
    "one_keyframe.ts": {"codec": "libx264", "gop": 600},
    "hevc.mp4": {"codec": "libx265", "b_frames": 2},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2, "fps": 25},
    "mjpeg.avi": {"codec": "mjpeg", "b_frames": 0},
}


def nearest(times, fps: float, count: int) -> list[int]:
    """Reference: the frame nearest to k / fps after the first, of two equally near ones the earlier."""
    exact = [Fraction(time) - Fraction(times[0]) for time in times]
    wanted = [Fraction(k) / Fraction(fps) for k in range(count)]
    return [min(range(len(exact)), key=lambda i: (abs(exact[i] - w), i)) for w in wanted]


@pytest.mark.parametrize("fps", [None, 10, 4, 60], ids=lambda fps: f"to{fps}")
@pytest.mark.parametrize(
    "times",
    [
        [Fraction(k, 30) for k in range(60)],
        [Fraction(k, 25) for k in range(60)],
        [k / FILM for k in range(60)],
        [Fraction(5) + k / FILM for k in range(60)],
        [k / FILM + Fraction(round(float(JITTER[k]) * 90_000), 90_000) * (k > 0) for k in range(60)],
        [Fraction(k + (12 if k > 20 else 0), 20) for k in range(60)],
    ],
    ids=["30", "25", "film", "film_from_5s", "film_with_jitter", "with_a_pause"],
)
def test_frames_are_the_nearest_in_time(tmp_path, times, fps):
    rate = 60 / (times[-1] - times[0]) if fps is None else 30
    path = write_video(tmp_path / "a.mp4", times=times, fps=Fraction(rate).limit_denominator(1000))
    info = probe_video(str(path))
    asked = fps or info.fps
    count = grid_length(info.duration, info.fps, asked)
    ticks = [Fraction(round(time * 90_000), 90_000) for time in times]
    video = VideoFile(info).read([k / asked for k in range(count)], 48, 64)["video"]
    assert read_numbers(video) == nearest(ticks, asked, count)
    assert abs((count - 1) / asked - info.duration) < 1 / asked + 1 / info.fps


@pytest.mark.parametrize("name", FORMATS)
def test_every_window_of_every_format_is_exact_in_any_order(tmp_path, name):
    options = {"fps": 20} | FORMATS[name]
    path = write_video(tmp_path / name, 50, **options)
    reader, fps = VideoFile(probe_video(str(path))), options["fps"]
    assert reader.info.fps == pytest.approx(fps)
    assert reader.info.duration == pytest.approx(49 / fps, abs=1e-3)
    for start in np.random.Generator(np.random.PCG64(1)).permutation(47)[:16].tolist():
        video = reader.read([(start + k) / fps for k in range(4)], 48, 64)["video"]
        assert read_numbers(video) == [start, start + 1, start + 2, start + 3]


def test_decoding_times_stand_in_for_scrambled_presentation_times(tmp_path):
    """Some writers store frames with b-frames as if they were shown in the order of their decoding."""
    path = write_video(tmp_path / "good.mp4", 40, b_frames=2)
    with av.open(str(path)) as old, av.open(str(tmp_path / "bad.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, stream
                new.mux(packet)
    info = probe_video(str(tmp_path / "bad.mkv"))
    assert info.by_dts
    numbers = [read_numbers(VideoFile(info).read([k / 10], 24, 32)["video"])[0] for k in (0, 3, 20, 5, 30)]
    assert numbers == [0, 3, 20, 5, 30]


@pytest.mark.parametrize("turn", MATRICES)
def test_turned_and_mirrored_videos_are_shown_as_by_a_player(tmp_path, turn):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = (250, 20, 20), (20, 250, 20), (20, 20, 250)
    path = write_video(tmp_path / "a.mp4", fps=10, times=np.arange(8) / 10, frames=[picture] * 8)
    info = probe_video(str(set_display_matrix(path, MATRICES[turn])))
    shown = {
        "as is": picture,
        "turn right": np.rot90(picture, -1),
        "turn left": np.rot90(picture, 1),
        "upside down": np.rot90(picture, 2),
        "mirror": picture[:, ::-1],
    }[turn]
    assert (info.height, info.width) == shown.shape[:2]
    video = VideoFile(info).read([0.0], *shown.shape[:2])["video"][0].permute(1, 2, 0).numpy()
    near = np.abs(video.astype(int) - shown).mean(axis=2) < 40  # but for the blur where colours meet
    assert near.mean() > 0.9


def test_pixels_become_square(tmp_path):
    path = write_video(tmp_path / "a.mp4", 6, pixel_aspect=Fraction(3, 2))
    info = probe_video(str(path))
    assert (info.height, info.width) == (48, 96)
    assert read_numbers(VideoFile(info).read([0.2], 24, 48)["video"]) == [2]


@pytest.mark.parametrize(("height", "width"), [(20, 20), (32, 64), (48, 30), (96, 96)])
def test_pictures_are_scaled_antialiased_to_cover_and_cropped_to_the_centre(tmp_path, height, width):
    y, x = np.mgrid[:80, :120]
    waves = (
        120 + 60 * np.sin(x / 7) * np.cos(y / 9) + 60 * ((x // 2 + y // 2) % 2)
    )  # the fine part must vanish
    picture = np.repeat(waves[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
    path = write_video(
        tmp_path / "a.mkv", fps=10, times=[0, 0.1], frames=[picture] * 2, codec="ffv1", b_frames=0
    )
    video = VideoFile(probe_video(str(path))).read([0.0], height, width)["video"][0]
    scale = max(height / 80, width / 120)
    size = (round(120 * scale), round(80 * scale))
    whole = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)).astype(int)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    expected = whole[top : top + height, left : left + width]
    assert np.abs(video.permute(1, 2, 0).numpy() - expected).mean() < 1.0


def test_only_so_many_videos_are_open(tmp_path):
    paths = [write_video(tmp_path / f"{k}.mp4", 8) for k in range(5)]
    infos = [probe_video(str(path)) for path in paths]
    before = len(os.listdir("/proc/self/fd"))
    videos = OpenVideos(open_video, limit=2)
    for info in infos * 3:
        videos[info].read([0.0, 0.1], 24, 32)
        assert len(videos) <= 2
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert videos[infos[-1]] is videos[infos[-1]]
    videos.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_numbers_survive_what_tests_do_to_them():
    assert all(
        read_numbers(numbered_frame(k, 24, 32).transpose(2, 0, 1)[None]) == [k] for k in (0, 1, 77, 4095)
    )
