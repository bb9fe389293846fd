"""Sampling orders: which section of a video is made when, and what is known by then.

| name | made | known beside a section | paper |
|---|---|---|---|
| vanilla | first to last | all before it | FramePack; with the start kept, FramePack-F1 |
| inverted | last to first | all after it, and the start | FramePack's released model |

The same plans serve sampling (`steps`) and training (`draw`), so that training never sees a context that
sampling would not have.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from components.randomness import ClipRandom


class SectionPlan(NamedTuple):
    """A section and its context, in latent frames of the clip; `last` and the end of `history` are exclusive.

    history: the known frames right beside the section. gap: frames that the model is told lie between the
    start and the section (or its history). start: the known frame that is shown as the start.
    """

    first: int
    last: int
    history: tuple[int, int]
    gap: int
    start: int


@runtime_checkable
class SamplingOrder(Protocol):
    """Plans for sections of `section` latent frames each, behind the first `known` frames of a clip.

    section is the memory's, filled in by the owner. side: where the history lies, as in the memory.
    """

    section: int
    side: Literal["before", "after"]

    def steps(self, num_sections: int, known: int = 1) -> Iterator[SectionPlan]:
        """Sections in the order in which sampling makes them; each frame is made once."""

    def draw(self, num_frames: int, random: ClipRandom, known: int = 1) -> list[SectionPlan]:
        """For each clip of num_frames latent frames a section, with the context that sampling has there.

        Raises ValueError if not even one section fits.
        """


def sections_of(num_frames: int, section: int, known: int) -> int:
    """How many whole sections follow the known frames.

    Raises ValueError if there is none.
    """
    count = (num_frames - known) // section
    if known < 1 or count < 1:
        raise ValueError(
            f"a clip of {num_frames} latent frames holds no section of {section} behind {known} known ones"
        )
    return count
