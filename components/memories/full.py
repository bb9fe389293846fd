"""All that is known, as it is."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from components.backbones.denoiser import Segment
from components.flow_path import num_tokens
from components.memories import Context


class Full:
    """Every known frame in patches of the section's own size: nothing is forgotten, and the cost grows.

    section: latent frames made at once. least: frames of context at least, zeros where fewer are known, so
    that clips of a batch agree: as many as a training clip has. Times are true: the first known frame is 0.
    """

    kernels = (1,)
    side: Literal["before", "after"] = "before"
    shows = ()
    reach = None

    def __init__(self, *, section: int, least: int) -> None:
        if min(section, least) < 1:
            raise ValueError(f"section is {section}, least {least}; give at least 1 latent frame")
        self.section, self.least = section, least

    def __call__(
        self,
        start: Float[Tensor, "b 1 c i j"],
        history: Float[Tensor, "b t c i j"],
        *,
        gap: int = 0,
        end: Float[Tensor, "b 1 c i j"] | None = None,
        end_gap: int = 0,
    ) -> Context:
        """The history holds the start. Raises ValueError for a gap or an end: nothing is left out."""
        if gap or end_gap or end is not None:
            raise ValueError(
                f"{gap + end_gap} frames are to be left out, but all are kept: take model.order=vanilla"
            )
        known = history.shape[1]
        missing = max(self.least - known, 0)
        frames = F.pad(history, (0, 0, 0, 0, 0, 0, missing, 0))
        times = torch.arange(-missing, known + self.section, device=history.device).expand(len(history), -1)
        count = known + missing
        return Context([Segment(frames, times[:, :count], 1)], times[:, count:])

    def num_tokens(self, height: int, width: int, known: int = 0) -> int:
        return num_tokens(max(known, self.least) + self.section, height, width)
