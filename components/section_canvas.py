"""Latent frames of a video that is made section by section: what is known by then, what may be shown."""

from itertools import count, takewhile
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from components.clip import Clip
from components.memories import Context, Memory
from components.orders import SectionPlan


class Known(NamedTuple):
    """What a memory is given: a start, the frames right beside the section, an end, and what lies between."""

    start: Float[Tensor, "b 1 c i j"]
    history: Float[Tensor, "b t c i j"]
    gap: int
    end: Float[Tensor, "b 1 c i j"] | None
    end_gap: int

    @staticmethod
    def of(z: Float[Tensor, "b l c i j"], plan: SectionPlan) -> "Known":
        """Cut from whole clips, as sampling would have it there."""
        first, last = plan.history
        end = None if plan.end is None else z[:, plan.end : plan.end + 1]
        return Known(z[:, plan.start : plan.start + 1], z[:, first:last], plan.gap, end, plan.end_gap)

    def seen(self, memory: Memory) -> Context:
        return memory(self.start, self.history, gap=self.gap, end=self.end, end_gap=self.end_gap)


class Canvas:
    """Latent frames by their place; those that will not be looked at again are let go.

    memory: of whose reach the frames beside a section are kept.
    """

    def __init__(self, z: Float[Tensor, "b l c i j"], memory: Memory) -> None:
        self.memory, self.shown = memory, z.shape[1]
        self._frames: dict[int, Tensor] = {}
        self.put(z, 0)

    def put(self, z: Float[Tensor, "b l c i j"], first: int) -> None:
        self._frames |= enumerate(z.unbind(dim=1), first)

    def known(self, plan: SectionPlan) -> Known:
        """What is known beside a section, as far as the memory reaches."""
        first, last = plan.history
        if (reach := self.memory.reach) is not None:
            before = self.memory.side == "before"
            first, last = (max(first, last - reach), last) if before else (first, min(last, first + reach))
        start = self._frames[plan.start][:, None]
        history = [self._frames[place] for place in range(first, last)]
        end = None if plan.end is None else self._frames[plan.end][:, None]
        beside = torch.stack(history, dim=1) if history else start[:, :0]
        return Known(start, beside, plan.gap, end, plan.end_gap)

    def ready(self, last: int) -> Float[Tensor, "b l c i j"] | None:
        """Frames before `last` that follow what was shown, as far as they are there; now they are shown."""
        places = list(takewhile(lambda place: place in self._frames and place < last, count(self.shown)))
        self.shown += len(places)
        return torch.stack([self._frames[place] for place in places], dim=1) if places else None

    def forget(self, plan: SectionPlan) -> None:
        """Let go of what is shown and too far before the section just made, but for the start."""
        if self.memory.side == "before" and self.memory.reach is not None:
            oldest = min(plan.last, self.shown) - self.memory.reach
            for place in [p for p in self._frames if plan.start < p < oldest]:
                del self._frames[place]


def with_text_of(clip: Clip, section: int) -> Clip:
    """The clip with the text of a section, where it has one for each; the last one stays."""
    if "section_texts" not in clip:
        return clip
    told = clip.copy()
    told.pop("text_tokens", None)
    told["text"] = [texts[min(section, len(texts) - 1)] for texts in clip["section_texts"]]
    return told
