"""What a video file holds, from its first frames and its last second: nothing between them is decoded."""

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice, pairwise

import av

from datamodules.decoding import FAILURES, Unreadable, VideoFile, VideoInfo, in_words

_HEAD_FRAMES = 24
_MISSING = 1.0  # seconds that an end may lack before the file counts as cut off
_FASTEST = 240.0  # frames per second that a container is believed without looking


def probe_video(path: str) -> VideoInfo:
    """Raises: Unreadable."""
    file = VideoFile(VideoInfo(path=path, num_frames=0, height=0, width=0))
    try:
        head = list(islice(file.container.decode(file.stream), _HEAD_FRAMES))
        if not head:
            raise Unreadable("not a single frame decodes")
        by_dts = not _rising(frame.pts for frame in head)
        if by_dts and not _rising(frame.dts for frame in head):
            raise Unreadable("its frames carry no usable times; `ffmpeg -i OLD NEW.mp4` writes them anew")
        file.info = replace(file.info, by_dts=by_dts)
        tick = float(file.stream.time_base)
        start, later = (tick * ((frame.dts if by_dts else frame.pts) or 0) for frame in (head[0], head[-1]))
        duration = _last_time(file, start) - start
        measured = (len(head) - 1) / (later - start) if later > start else 1.0
        fps = float(file.stream.average_rate or 0)
        if not 0 < fps <= max(_FASTEST, 2 * measured):  # some writers put the clock's rate there
            fps = measured
        height, width = head[0].height, round(head[0].width * float(file.stream.sample_aspect_ratio or 1))
        transposed, flip_x, flip_y = _orientation(head[0])
    except FAILURES as error:
        raise Unreadable(f"its beginning does not decode: {in_words(error)}") from error
    finally:
        file.close()
    return replace(
        file.info,
        num_frames=round(duration * fps) + 1,
        height=width if transposed else height,
        width=height if transposed else width,
        fps=fps,
        duration=duration,
        start=start,
        transposed=transposed,
        flip_x=flip_x,
        flip_y=flip_y,
    )


def _rising(times: Iterable[int | None]) -> bool:
    return all(a is not None and b is not None and a < b for a, b in pairwise(times))


def _last_time(file: VideoFile, start: float) -> float:
    """When the last frame is shown, in seconds."""
    promised = _promised_end(file)
    end = promised or _end_of_packets(file)
    for earlier in (1.0, 4.0, 16.0, 64.0, None):  # some formats seek past the target
        if earlier is None or not file.seek(max(start, end - earlier)):
            file.reopen()  # and some cannot seek: those are decoded from the start
        try:
            last = deque(file.frames(), maxlen=1)
        except FAILURES as error:
            raise Unreadable("cut off or damaged: its end does not decode") from error
        if last:
            break
    time, frame = last[0]
    until = time + float((frame.duration or 0) * frame.time_base)
    # Sound may go on after the last frame, so a container with sound does not tell when frames end.
    told = file.stream.duration is not None or not file.container.streams.audio
    if promised is not None and told and until < promised - _MISSING:
        raise Unreadable(f"cut off: only {until - start:.1f}s of {promised - start:.1f}s are there")
    return time


def _promised_end(file: VideoFile) -> float | None:
    """When the container says that it ends, in seconds."""
    stream, container = file.stream, file.container
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if container.duration is not None:
        return ((container.start_time or 0) + container.duration) / av.time_base
    return None


def _end_of_packets(file: VideoFile) -> float:
    """When the last packet is shown or decoded, for containers that do not say; nothing is decoded."""
    ticks = [packet.dts if packet.pts is None else packet.pts for packet in file.container.demux(file.stream)]
    return float(max((tick for tick in ticks if tick is not None), default=0) * file.stream.time_base)


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transposed, flip_x, flip_y) of the display matrix: x' = a x + c y, y' = b x + d y.

    Angles between quarter turns go to the nearest one.
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            if abs(b) > abs(a):
                return True, c < 0, b < 0
            return False, a < 0, d < 0
    return False, False, False
