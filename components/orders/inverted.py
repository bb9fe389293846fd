"""From the last section to the first, towards the start."""

from collections.abc import Iterator
from typing import Literal

from components.orders import SectionPlan, Video, drawn_videos
from components.randomness import ClipRandom

LONGEST_TRUE = 4  # sections up to which the gap is the true distance


class Inverted:
    """Each section lies before all that is made; the last known frame, far or near, is the start.

    In training, clips also stand for videos of fewer sections than they hold.
    section: latent frames made at once. endings: share of training clips that are told the frame behind them,
    which a model must know to arrive at a given end.
    Source: FramePack (arXiv 2504.12626), inverted anti-drifting sampling, with the released code's gaps.
    """

    def __init__(self, *, section: int, endings: float = 0.0) -> None:
        if not 0 <= endings <= 1:
            raise ValueError(f"endings is {endings:g}; give a share from 0 to 1")
        self.section, self.endings = section, endings
        self.side: Literal["before", "after"] = "after"
        self.needs = ("start",)

    def steps(self, num_sections: int, known: int = 1, *, ending: bool = False) -> Iterator[SectionPlan]:
        for made in range(num_sections):
            yield self._plan(Video(num_sections, made, ending), known)

    def draw(self, num_frames: int, random: ClipRandom, known: int = 1) -> list[SectionPlan]:
        videos = drawn_videos(num_frames, self.section, random, known, self.endings)
        return [self._plan(video, known) for video in videos]

    def _plan(self, video: Video, known: int) -> SectionPlan:
        """The section to make when so many are made, all of them behind it."""
        first = known + self.section * (video.num_sections - 1 - video.made)
        last, end = first + self.section, known + self.section * video.num_sections + video.ending
        gap = self.section * paddings(video.num_sections)[video.made]
        return SectionPlan(first, last, history=(last, end), gap=gap, start=known - 1)


def paddings(num_sections: int) -> list[int]:
    """Sections that the model is told lie between the start and each section, in the order of sampling.

    The true distances for up to four sections; beyond, 3, 2, ..., 2, 1, 0, which the authors found to work
    better than the true ones.
    """
    if num_sections <= LONGEST_TRUE:
        return list(range(num_sections))[::-1]
    return [3, *[2] * (num_sections - 3), 1, 0]
