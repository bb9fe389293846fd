"""FramePack's memory by likeness: the less a known frame is like what comes next, the larger its patches."""

from itertools import accumulate
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from components.backbones.denoiser import Segment
from components.memories import Context
from components.memories.packed import Packed


class Similarity(Packed):
    """A packed context whose history is sorted by likeness to the newest frame, not by time.

    The likest frames get the places that a structure gives the nearest ones; what is beyond it is left out.
    Times stay true, in latent frames from the first known one. For videos that come back to where they were.

    score: cosine, of all numbers of two frames; time, exp(-d^2) of frames d seconds apart; hybrid, the first
    plus time_weight times the second. seconds: from a latent frame to the next.
    Raises ValueError for a structure with history after the section, an end, or another tail than td.
    Source: FramePack (arXiv 2504.12626, v3), feature similarity. It does not say by what the section to come
    is stood for: here by the newest frame.
    """

    def __init__(
        self,
        *,
        structure: str,
        score: Literal["cosine", "time", "hybrid"] = "cosine",
        time_weight: float = 1.0,
        seconds: float = 1.0,
    ) -> None:
        super().__init__(structure=structure)
        layout = self.structure
        if layout.side == "after" or layout.end is not None or layout.tail != "td":
            raise ValueError(
                f"{structure}: likeness sorts what lies before a section, such as f2k2f1k1_g2_td"
            )
        if seconds <= 0 or time_weight < 0:
            raise ValueError(f"seconds is {seconds}, time_weight {time_weight}; give above 0, at least 0")
        self.reach = None
        self.score, self.time_weight, self.seconds = score, time_weight, seconds

    def __call__(
        self,
        start: Float[Tensor, "b 1 c i j"],
        history: Float[Tensor, "b t c i j"],
        *,
        gap: int = 0,
        end: Float[Tensor, "b 1 c i j"] | None = None,
        end_gap: int = 0,
    ) -> Context:
        """Raises ValueError for a gap or an end: times are true."""
        if gap or end_gap or end is not None:
            raise ValueError(
                f"{gap + end_gap} frames are to be left out, but times are true: take model.order=vanilla"
            )
        layout, (b, known) = self.structure, history.shape[:2]
        ranked = self.scores(history).argsort(dim=1, descending=True, stable=True)
        missing = max(self.history - known, 0)
        padded = F.pad(history, (0, 0, 0, 0, 0, 0, missing, 0))
        # zeros for frames that do not exist, the newest first
        nowhere = torch.arange(missing, device=history.device).flip(0).expand(b, -1)
        ranked = torch.cat([ranked + missing, nowhere], dim=1)[:, : self.history]
        pieces = []
        if layout.start is not None:
            pieces.append(Segment(start, torch.zeros_like(ranked[:, :1]), layout.start.kernel))
        stops = list(accumulate(item.frames for item in reversed(layout.history)))
        for item, stop in zip(reversed(layout.history), stops, strict=True):
            chosen = ranked[:, stop - item.frames : stop].sort(dim=1).values
            rows = torch.arange(b, device=history.device)[:, None]
            pieces.append(Segment(padded[rows, chosen], chosen - missing, item.kernel))
        section = torch.arange(known, known + self.section, device=history.device)
        return Context(self.in_order(pieces), section.expand(b, -1))

    def scores(self, history: Float[Tensor, "b t c i j"]) -> Float[Tensor, "b t"]:
        """How like each known frame is to the section to come; higher is liker."""
        newest = history[:, -1:].flatten(2)
        likeness = F.cosine_similarity(history.flatten(2), newest, dim=2)
        ages = torch.arange(history.shape[1], device=history.device).flip(0) * self.seconds
        nearness = (-ages.square()).exp().to(likeness.dtype).expand_as(likeness)
        if self.score == "cosine":
            return likeness
        return nearness if self.score == "time" else likeness + self.time_weight * nearness
