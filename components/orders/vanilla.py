"""From the first section to the last."""

from collections.abc import Iterator
from typing import Literal

from components.orders import SectionPlan, sections_of
from components.randomness import ClipRandom


class Vanilla:
    """Each section follows all that is known; the clip's first frame is the start.

    section: latent frames made at once.
    Source: FramePack (arXiv 2504.12626), vanilla sampling; gap 0 as in the released FramePack-F1.
    """

    def __init__(self, *, section: int) -> None:
        self.section = section
        self.side: Literal["before", "after"] = "before"
        self.needs = ()

    def steps(self, num_sections: int, known: int = 1, *, ending: bool = False) -> Iterator[SectionPlan]:
        if ending:
            raise ValueError("the vanilla order does not look at an end: train with variant=endpoint")
        for number in range(num_sections):
            yield self._plan(number, known)

    def draw(self, num_frames: int, random: ClipRandom, known: int = 1) -> list[SectionPlan]:
        count = sections_of(num_frames, self.section, known)
        return [self._plan(number, known) for number in random.integers(0, count).tolist()]

    def _plan(self, number: int, known: int) -> SectionPlan:
        first = known + self.section * number
        return SectionPlan(first, first + self.section, history=(0, first), gap=0, start=0)
