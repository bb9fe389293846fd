"""FramePack's memory: the farther a known frame, the larger the patches it is cut into."""

from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from components.backbones.denoiser import Segment
from components.flow_path import num_tokens
from components.memories import Context
from components.memories.structure import Item, parse

TAIL_KERNEL = 16  # of an appended tail


class Packed:
    """A context of constant size, laid out by a structure such as f1k1_x_g9_f1k1f2k2f16k4_td.

    Frames that do not exist yet are zero, and keep their times. Times count from the structure's first frame.
    All frames of kernel 1 are one segment; segments come from the largest kernel to the smallest, each in the
    order of time. side: whether the history lies before or after the section.

    Frames older than the structure, the tail, are left out (td); or their mean over time and place is one
    frame more, in patches of the largest kernel (tc); or they all are a segment of kernel 16, a token for 16
    frames and 32x32 latents, which grows with them (ta; the paper names 32x32, not the 16).
    least_tail: frames that a segment of a tail has at least, so that clips of a batch agree; of ta alone.

    Raises ValueError, one line, for a structure that cannot be read (`structure.parse`).
    Source: FramePack (arXiv 2504.12626), section 3.1; order and times as in the released code.
    """

    def __init__(self, *, structure: str, least_tail: int = TAIL_KERNEL) -> None:
        if least_tail < 1:
            raise ValueError(f"least_tail is {least_tail}; a segment has at least 1 frame")
        self.structure, self.least_tail = parse(structure), least_tail
        self.section, self.side = self.structure.section, self.structure.side
        self.history = sum(item.frames for item in self.structure.history)
        self.reach = self.history if self.structure.tail == "td" else None
        ends = {"start": self.structure.start, "end": self.structure.end}
        self.shows = tuple(name for name, item in ends.items() if item is not None)
        self._items = (*self.structure.history, *(item for item in ends.values() if item is not None))
        self.kernels = tuple(sorted({item.kernel for item in self._items}))

    def __call__(
        self,
        start: Float[Tensor, "b 1 c i j"],
        history: Float[Tensor, "b t c i j"],
        *,
        gap: int = 0,
        end: Float[Tensor, "b 1 c i j"] | None = None,
        end_gap: int = 0,
    ) -> Context:
        """start: the known frame before an x. history: known frames right beside the section, in time order,
        any number. gap: frames left out at the first x. end: the known frame after an x, zeros where it is
        not known yet. end_gap: frames left out at that x.

        Raises ValueError for a gap without an x, and an end without its place.
        """
        layout = self.structure
        if (gap and layout.start is None) or (end_gap and layout.end is None):
            raise ValueError(f"{gap or end_gap} frames are to be left out, but the structure has no x there")
        if layout.end is None and end is not None:
            raise ValueError("the structure has no place for an end frame")
        time = 0
        pieces: list[Segment] = []

        def place(items: tuple[Item, ...], frames: Tensor) -> None:
            nonlocal time
            stops = list(accumulate(item.frames for item in items))
            for item, stop in zip(items, stops, strict=True):
                times = torch.arange(item.frames, device=frames.device) + time
                known = frames[:, stop - item.frames : stop]
                pieces.append(Segment(known, times.expand(len(frames), -1), item.kernel))
                time += item.frames

        if layout.start is not None:
            place((layout.start,), start)
        time += gap if layout.gap == "history" else 0
        if layout.side == "before":
            pieces += self._tail(history, time)
            place(layout.history, self._nearest(history))
        time += gap if layout.gap == "section" else 0
        section = torch.arange(self.section, device=start.device) + time
        time += self.section
        if layout.side == "after":
            place(layout.history, self._nearest(history))
            pieces += self._tail(history, time)
        time += end_gap
        if layout.end is not None:
            place((layout.end,), torch.zeros_like(start) if end is None else end)
        return Context(self.in_order(pieces), section.expand(len(start), -1))

    def num_tokens(self, height: int, width: int, known: int = 0) -> int:
        items = [*self._items, Item(self.section, 1)]
        if self.structure.tail == "ta":
            items.append(Item(max(known - self.history, self.least_tail), TAIL_KERNEL))
        if self.structure.tail == "tc":
            items.append(Item(1, max(self.kernels)))
        return sum(num_tokens(item.frames, height, width, item.kernel) for item in items)

    def _tail(self, history: Float[Tensor, "b t c i j"], time: int) -> list[Segment]:
        """Frames beyond the structure. time: of the history's first frame where it lies before the section,
        else of the frame behind its last."""
        layout, before = self.structure, self.side == "before"
        if layout.tail == "td":
            return []
        count = max(history.shape[1] - self.history, 0)
        tail = history[:, :count] if before else history[:, history.shape[1] - count :]
        if layout.tail == "tc":
            known = tail.mean(dim=(1, 3, 4), keepdim=True) if count else history.new_zeros(1, 1, 1, 1, 1)
            tail, kernel = known.expand(len(history), 1, *history.shape[2:]), max(self.kernels)
        else:
            missing = max(self.least_tail - count, 0)
            tail = F.pad(tail, (0, 0, 0, 0, 0, 0, *((missing, 0) if before else (0, missing))))
            kernel = TAIL_KERNEL
        first = time - tail.shape[1] if before else time
        times = torch.arange(tail.shape[1], device=tail.device) + first
        return [Segment(tail, times.expand(len(tail), -1), kernel)]

    def _nearest(self, history: Float[Tensor, "b t c i j"]) -> Float[Tensor, "b h c i j"]:
        """As many frames as the structure holds, those nearest to the section, zeros where there are none."""
        known = min(self.history, history.shape[1])
        missing = self.history - known
        if self.side == "before":
            return F.pad(history[:, history.shape[1] - known :], (0, 0, 0, 0, 0, 0, missing, 0))
        return F.pad(history[:, :known], (0, 0, 0, 0, 0, 0, 0, missing))

    @staticmethod
    def in_order(pieces: list[Segment]) -> list[Segment]:
        """Segments from the largest kernel to the smallest, with all frames of kernel 1 in one."""
        segments = sorted((piece for piece in pieces if piece.kernel > 1), key=lambda piece: -piece.kernel)
        single = [piece for piece in pieces if piece.kernel == 1]
        if single:
            latents = torch.cat([piece.latents for piece in single], dim=1)
            segments.append(Segment(latents, torch.cat([piece.indices for piece in single], dim=1), 1))
        return segments
