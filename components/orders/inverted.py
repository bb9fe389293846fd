"""From the last section to the first, towards the start."""

from collections.abc import Iterator
from typing import Literal

from components.orders import SectionPlan, sections_of
from components.randomness import ClipRandom

LONGEST_TRUE = 4  # sections up to which the gap is the true distance


class Inverted:
    """Each section lies before all that is made; the last known frame, far or near, is the start.

    In training, clips also stand for videos of fewer sections than they hold.
    section: latent frames made at once.
    Source: FramePack (arXiv 2504.12626), inverted anti-drifting sampling, with the released code's gaps.
    """

    def __init__(self, *, section: int) -> None:
        self.section = section
        self.side: Literal["before", "after"] = "after"

    def steps(self, num_sections: int, known: int = 1) -> Iterator[SectionPlan]:
        for made in range(num_sections):
            yield self._plan(made, num_sections, known)

    def draw(self, num_frames: int, random: ClipRandom, known: int = 1) -> list[SectionPlan]:
        longest = sections_of(num_frames, self.section, known)
        plans = []
        for length, moment in random.uniform(2).tolist():
            num_sections = 1 + int(length * longest)
            plans.append(self._plan(int(moment * num_sections), num_sections, known))
        return plans

    def _plan(self, made: int, num_sections: int, known: int) -> SectionPlan:
        """The section to make when so many are made, all of them behind it."""
        first = known + self.section * (num_sections - 1 - made)
        last, end = first + self.section, known + self.section * num_sections
        gap = self.section * paddings(num_sections)[made]
        return SectionPlan(first, last, history=(last, end), gap=gap, start=known - 1)


def paddings(num_sections: int) -> list[int]:
    """Sections that the model is told lie between the start and each section, in the order of sampling.

    The true distances for up to four sections; beyond, 3, 2, ..., 2, 1, 0, which the authors found to work
    better than the true ones.
    """
    if num_sections <= LONGEST_TRUE:
        return list(range(num_sections))[::-1]
    return [3, *[2] * (num_sections - 3), 1, 0]
