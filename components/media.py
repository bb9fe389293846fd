"""Videos to look at: mp4, moving GIF, film strips, and videos side by side with coloured frames."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

GIVEN = (46, 160, 67)  # green: frames the model was given, or the truth
PREDICTED = (215, 58, 73)  # red: frames the model made
BORDER = 2
GAP = 6
PAPER = 255
LABEL_SIZE = 12

Labelled = tuple[str, Tensor]  # what it is, and a video: uint8 (t, 3, h, w)


class Mp4Writer:
    """A video file that grows: H.264 in 4:2:0, which every player shows, for a `with`.

    Odd sides get one more row or column of their last pixels. A key frame every second frame, so that any
    frame is quick to reach in training too. The file plays once the `with` ends.
    """

    def __init__(self, path: Path, fps: float) -> None:
        import av

        self._container = av.open(str(path), mode="w")
        self._stream: Any = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.pix_fmt, self._stream.gop_size = "yuv420p", 2
        self._stream.options = {"crf": "18"}
        self._begun = False

    def write(self, video: UInt8[Tensor, "t 3 h w"]) -> None:
        """Append frames, all of the size of the first."""
        import av

        video = torch.cat((video, video[..., -1:, :]), dim=-2) if video.shape[-2] % 2 else video
        video = torch.cat((video, video[..., -1:]), dim=-1) if video.shape[-1] % 2 else video
        if not self._begun:
            self._stream.height, self._stream.width = video.shape[-2:]
            self._begun = True
        for image in video.permute(0, 2, 3, 1).cpu().numpy():
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            self._container.mux(self._stream.encode())
        self._container.close()


def write_mp4(path: Path, video: UInt8[Tensor, "t 3 h w"], fps: float) -> None:
    """Write a whole video with `Mp4Writer`."""
    with Mp4Writer(path, fps) as file:
        file.write(video)


def gif_bytes(video: UInt8[Tensor, "t 3 h w"], fps: float) -> bytes:
    """A GIF that plays for ever, with a palette of its own for every frame."""
    from PIL import Image

    images = [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in video]
    paletted = [image.quantize(colors=256, method=Image.Quantize.MEDIANCUT) for image in images]
    # GIF counts in hundredths of a second, and viewers slow down what is faster than two of them
    duration = max(2, round(100 / fps)) * 10
    buffer = io.BytesIO()
    paletted[0].save(
        buffer, format="GIF", save_all=True, append_images=paletted[1:], duration=duration, loop=0, disposal=1
    )
    return buffer.getvalue()


def gif_summary(tag: str, gif: bytes, height: int, width: int) -> Any:
    """A GIF for TensorBoard, which shows any image the browser can; its add_video needs another library."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def write_gif(path: Path, video: UInt8[Tensor, "t 3 h w"], fps: float) -> None:
    """Write `gif_bytes` to a file."""
    path.write_bytes(gif_bytes(video, fps))


def write_png(path: Path, image: UInt8[Tensor, "3 h w"]) -> None:
    """Write an image."""
    from PIL import Image

    Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(path)


def enlarge(video: UInt8[Tensor, "t 3 h w"], smallest: int = 128) -> UInt8[Tensor, "t 3 h2 w2"]:
    """Repeat pixels a whole number of times until the shorter side has about `smallest` of them."""
    times = max(1, round(smallest / min(video.shape[-2:])))
    return video.repeat_interleave(times, dim=-2).repeat_interleave(times, dim=-1)


def film_strip(rows: list[Labelled], *, context_frames: int, truths: int = 0) -> UInt8[Tensor, "3 h w"]:
    """One image: a labelled row a video, time from left to right, frames framed as in `side_by_side`."""
    videos = _framed(rows, context_frames, truths)
    strips = []
    for (label, _), frames in zip(rows, videos, strict=True):
        strip = torch.cat([_pad(frame, right=GAP) for frame in frames], dim=-1)
        strips.append(torch.cat((_label(label, strip.shape[-1]), _pad(strip, bottom=GAP)), dim=-2))
    return torch.cat(strips, dim=-2)


def side_by_side(
    columns: list[Labelled], *, context_frames: int, truths: int = 0
) -> UInt8[Tensor, "t 3 h w"]:
    """One video: labelled videos of one size next to each other; what ends early leaves its place white.

    The first `context_frames` frames of each, and all of the first `truths` videos, are framed green; the
    others, which a model made, red.
    """
    videos = _framed(columns, context_frames, truths)
    shown = []
    for (label, _), frames in zip(columns, videos, strict=True):
        title = _label(label, frames.shape[-1]).expand(len(frames), -1, -1, -1)
        shown.append(_pad(torch.cat((title, frames), dim=-2), right=GAP, bottom=GAP))
    return torch.cat(shown, dim=-1)


def _framed(rows: list[Labelled], context_frames: int, truths: int) -> list[UInt8[Tensor, "t 3 h w"]]:
    """Enlarged frames with their coloured borders, all videos as long as the longest."""
    longest = max(len(video) for _, video in rows)
    framed = []
    for row, (_, video) in enumerate(rows):
        frames = enlarge(video.cpu())
        t, _, h, w = frames.shape
        given = [row < truths or i < context_frames for i in range(t)]
        colours = torch.tensor([GIVEN if known else PREDICTED for known in given], dtype=torch.uint8)
        shown = torch.full((longest, 3, h + 2 * BORDER, w + 2 * BORDER), PAPER, dtype=torch.uint8)
        shown[:t] = colours[:, :, None, None]
        shown[:t, :, BORDER:-BORDER, BORDER:-BORDER] = frames
        framed.append(shown)
    return framed


def _label(text: str, width: int) -> UInt8[Tensor, "3 h w"]:
    """Black words on white, cut off at `width` pixels."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, LABEL_SIZE + 4), (PAPER,) * 3)
    ImageDraw.Draw(image).text((0, 0), text, fill=(0, 0, 0), font=ImageFont.load_default(LABEL_SIZE))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _pad(image: UInt8[Tensor, "*t 3 h w"], *, right: int = 0, bottom: int = 0) -> UInt8[Tensor, "*t 3 h2 w2"]:
    return torch.nn.functional.pad(image, (0, right, 0, bottom), value=PAPER)
