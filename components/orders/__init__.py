"""Sampling orders: which section of a video is made when, and what is known by then.

| name | made | known beside a section | paper |
|---|---|---|---|
| vanilla, f1 | first to last | all before it | FramePack; with the start kept, FramePack-F1 |
| inverted | last to first | all after it, and the start | FramePack's released model |
| endpoint | the last one, then first to last | all before it, and the end | FramePack |
| multi_endpoint | of each chapter its last, then its others | all before it, the chapter's end | FramePack |

The same plans serve sampling (`steps`) and training (`draw`), so that training never sees a context that
sampling would not have.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from components.randomness import ClipRandom


class SectionPlan(NamedTuple):
    """A section and its context, in latent frames of the clip; `last` and the end of `history` are exclusive.

    history: the known frames right beside the section. gap: frames that the model is told lie between the
    start and the section (or its history). start: the known frame that is shown as the start. end: the known
    frame behind the section that is shown as the end, None: none; end_gap: frames told to lie in between.
    """

    first: int
    last: int
    history: tuple[int, int]
    gap: int
    start: int
    end: int | None = None
    end_gap: int = 0


@runtime_checkable
class SamplingOrder(Protocol):
    """Plans for sections of `section` latent frames each, behind the first `known` frames of a clip.

    section is the memory's, filled in by the owner. side: where the history lies, as in the memory.
    needs: which single frames, far from the section, the memory must show: start, end.
    """

    section: int
    side: Literal["before", "after"]
    needs: tuple[str, ...]

    def steps(self, num_sections: int, known: int = 1, *, ending: bool = False) -> Iterator[SectionPlan]:
        """Sections in the order in which sampling makes them; each frame is made once.

        ending: the frame behind the last section is known, to be arrived at.
        Raises ValueError for an ending that the order does not look at.
        """

    def draw(self, num_frames: int, random: ClipRandom, known: int = 1) -> list[SectionPlan]:
        """For each clip of num_frames latent frames a section, with the context that sampling has there.

        Raises ValueError if not even one section fits.
        """


class Video(NamedTuple):
    """A video that a clip stands for in training, and which of its sections is made."""

    num_sections: int
    made: int
    ending: bool


def drawn_videos(
    num_frames: int, section: int, random: ClipRandom, known: int, endings: float
) -> list[Video]:
    """Of each clip the first sections, from one to all that it holds; a share is told the frame behind them.

    That frame must be there: a clip that ends with a section stands for a video of one section less.
    """
    drawn = []
    for length, moment, *ending in random.uniform(3 if endings else 2).tolist():
        told = bool(ending) and ending[0] < endings and num_frames - known > section
        count = 1 + int(length * sections_of(num_frames - told, section, known))
        drawn.append(Video(count, int(moment * count), told))
    return drawn


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
