"""Inverse dynamics over frames, the codes of what changes, or both."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.frame_networks import FrameNetwork


class FramesAndCodes(nn.Module):
    """A vector of the frames and one of each code; together, or by turns, they say what the action is.

    read_out: "mean" has each vector say the action, and takes the mean of what they say: what a code stands
        for does not depend on the frame. "joint" reads all vectors side by side.
    frames: network over the present and the next frame; None = frames are not looked at. next_frame: false
        for the present one alone, so that a model need not draw the next.
    num_codes, code_dim: codes, and numbers of what each stands for; 0 = codes are not looked at. They share
        their network, and each is told which horizon it is of.
    dim: of the vectors. action_dim: numbers of an action.
    Raises ValueError where there is nothing to look at.
    Source: VideoWorld (arXiv 2501.09781), supplement A: ResNet-18 on the next frame, one network for all
    codes, the mean over all of them. Its main text has the present frame as an input too, and so has this.
    "joint" is ours: there the drawn next frame says alone where the arm is and where it goes; the present one
    and codes say it only together.
    """

    def __init__(
        self,
        *,
        frames: FrameNetwork | None,
        num_codes: int,
        code_dim: int,
        action_dim: int,
        next_frame: bool = True,
        read_out: Literal["mean", "joint"] = "mean",
        dim: int = 256,
    ) -> None:
        super().__init__()
        self.reads_frames, self.reads_codes = frames is not None, bool(num_codes and code_dim)
        self.reads_next = self.reads_frames and next_frame
        if not (self.reads_next or self.reads_codes):
            raise ValueError("inverse dynamics looks at the next frame, codes or both; here it is neither")
        self.frames = frames
        self.of_frames = None if frames is None else nn.Linear(frames.dim, dim)
        if self.reads_codes:
            self.horizons = nn.Parameter(torch.zeros(num_codes, dim))
            self.of_codes = nn.Sequential(
                nn.Linear(code_dim, dim), nn.GELU(), nn.Linear(dim, dim)
            )  # fmt: skip
        self.read_out = read_out
        rows = self.reads_frames + self.reads_codes * num_codes if read_out == "joint" else 1
        self.head = nn.Sequential(
            nn.GELU(), nn.Linear(rows * dim, dim), nn.GELU(), nn.Linear(dim, action_dim)
        )  # fmt: skip

    def forward(
        self, frames: Float[Tensor, "b c h w"] | None, codes: Float[Tensor, "b n d"] | None
    ) -> Float[Tensor, "b a"]:
        """Raises ValueError where what it reads is not given."""
        if (self.reads_frames and frames is None) or (self.reads_codes and codes is None):
            raise ValueError("this inverse dynamics reads what it was not given: frames or codes")
        rows = []
        if self.frames is not None and self.of_frames is not None and frames is not None:
            rows.append(self.of_frames(self.frames(frames))[:, None])
        if self.reads_codes:
            rows.append(self.of_codes(codes) + self.horizons)
        vectors = torch.cat(rows, dim=1)
        return self.head(vectors.flatten(1)) if self.read_out == "joint" else self.head(vectors).mean(dim=1)
