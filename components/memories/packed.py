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


class Packed:
    """A context of constant size, laid out by a structure such as f1k1_x_g9_f1k1f2k2f16k4_td.

    Frames that do not exist yet are zero, and keep their times; those beyond the structure are left out.
    Times count from the structure's first frame. All frames of kernel 1 are one segment; segments come from
    the largest kernel to the smallest, each in the order of time.
    side: whether the history lies before or after the section.
    Raises ValueError, one line, for a structure that cannot be read (`structure.parse`).
    Source: FramePack (arXiv 2504.12626), section 3.1; order and times as in the released code.
    """

    def __init__(self, *, structure: str) -> None:
        self.structure = parse(structure)
        self.section, self.side = self.structure.section, self.structure.side
        self.history = sum(item.frames for item in self.structure.history)
        ends = [item for item in (self.structure.start, self.structure.end) if item is not None]
        self._items = (*self.structure.history, *ends)
        self.kernels = tuple(sorted({item.kernel for item in self._items}))

    def __call__(
        self,
        start: Float[Tensor, "b 1 c i j"],
        history: Float[Tensor, "b t c i j"],
        *,
        gap: int = 0,
        end: Float[Tensor, "b 1 c i j"] | None = None,
    ) -> Context:
        """start: the known frame before an x. history: known frames right beside the section, in time order,
        any number. gap: frames left out at x. end: the known frame after an x.

        Where x stands on both sides, the gap is the one beside the section.
        Raises ValueError for a gap without an x, and where the structure has an end and none is given.
        """
        layout = self.structure
        if gap and layout.gap is None:
            raise ValueError(f"{gap} frames are to be left out, but the structure has no x")
        if (layout.end is None) != (end is None):
            raise ValueError(f"the structure has {'no' if layout.end is None else 'an'} end frame")
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
            place(layout.history, self._nearest(history))
        time += gap if layout.gap == "section" else 0
        section = torch.arange(self.section, device=start.device) + time
        time += self.section
        if layout.side == "after":
            place(layout.history, self._nearest(history))
        time += gap if layout.gap == "end" else 0
        if layout.end is not None and end is not None:
            place((layout.end,), end)
        return Context(_coarse_to_fine(pieces), section.expand(len(start), -1))

    def num_tokens(self, height: int, width: int) -> int:
        context = sum(num_tokens(item.frames, height, width, item.kernel) for item in self._items)
        return context + num_tokens(self.section, height, width)

    def _nearest(self, history: Float[Tensor, "b t c i j"]) -> Float[Tensor, "b h c i j"]:
        """As many frames as the structure holds, those nearest to the section, zeros where there are none."""
        known = min(self.history, history.shape[1])
        missing = self.history - known
        if self.side == "before":
            return F.pad(history[:, history.shape[1] - known :], (0, 0, 0, 0, 0, 0, missing, 0))
        return F.pad(history[:, :known], (0, 0, 0, 0, 0, 0, 0, missing))


def _coarse_to_fine(pieces: list[Segment]) -> list[Segment]:
    """Segments from the largest kernel to the smallest, with all frames of kernel 1 in one."""
    segments = sorted((piece for piece in pieces if piece.kernel > 1), key=lambda piece: -piece.kernel)
    single = [piece for piece in pieces if piece.kernel == 1]
    if single:
        latents = torch.cat([piece.latents for piece in single], dim=1)
        segments.append(Segment(latents, torch.cat([piece.indices for piece in single], dim=1), 1))
    return segments
