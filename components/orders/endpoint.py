"""The end of each chapter first, then what leads up to it."""

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from components.orders import SectionPlan, drawn_videos
from components.randomness import ClipRandom


class Endpoint:
    """A chapter's last section is made from the start alone; its others, first to last, know its first frame.

    The paper makes a video's first and last section in one step; here the last, then the first.
    In training, clips also stand for videos of fewer sections than they hold.

    section: latent frames made at once. chapter: sections from one endpoint to the next; None: the video is
    one chapter. longest: sections that the model is told lie between, at most, so that long videos ask
    nothing that training clips do not show. endings: share of training clips that are told the frame behind
    them, which a model must know to arrive at a given end.
    Source: FramePack (arXiv 2504.12626), endpoint and multi-endpoint sampling.
    """

    def __init__(
        self, *, section: int, chapter: int | None = None, longest: int = 3, endings: float = 0.0
    ) -> None:
        if (chapter is not None and chapter < 1) or longest < 1 or not 0 <= endings <= 1:
            told = f"chapter is {chapter}, longest {longest}, endings {endings:g}"
            raise ValueError(f"{told}; give 1 or more sections, and a share from 0 to 1")
        self.section, self.chapter, self.longest, self.endings = section, chapter, longest, endings
        self.side: Literal["before", "after"] = "before"
        self.needs = ("start", "end")

    def steps(self, num_sections: int, known: int = 1, *, ending: bool = False) -> Iterator[SectionPlan]:
        behind = known + self.section * num_sections if ending else None
        chapter = num_sections if self.chapter is None else self.chapter
        for begin in range(0, num_sections, chapter):
            final = min(begin + chapter, num_sections) - 1
            first = known + self.section * final
            goal = behind if final == num_sections - 1 else None
            beside = (0, first) if final == begin else (first, first)
            gap = self._told(final if final > begin else 0)
            yield SectionPlan(first, first + self.section, beside, gap, start=0, end=goal)
            for number in range(begin, final):
                here, between = known + self.section * number, self._told(final - 1 - number)
                made = (here, here + self.section)
                yield SectionPlan(*made, (0, here), gap=0, start=0, end=first, end_gap=between)

    def draw(self, num_frames: int, random: ClipRandom, known: int = 1) -> list[SectionPlan]:
        videos = drawn_videos(num_frames, self.section, random, known, self.endings)
        return [
            next(islice(self.steps(video.num_sections, known, ending=video.ending), video.made, None))
            for video in videos
        ]

    def _told(self, num_sections: int) -> int:
        """Frames that the model is told lie between, for so many sections."""
        return self.section * min(num_sections, self.longest)
