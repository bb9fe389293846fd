"""Video drift error (VDE): how far a video's own score strays from where it began.

VDE alone is no sign of quality: a video that is frozen, or that shows nothing from the start, never changes
and has VDE 0. It is to be read beside motion_amount and spread.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from components.metrics import VideoScore

CHUNKS = 10
Weights = Callable[[int], Float[Tensor, " k"]]


def linear(chunks: int) -> Float[Tensor, " k"]:
    """w_i = N - i + 1 for i = 2..N: early drift weighs most, the last chunk 1."""
    return torch.arange(chunks - 1, 0, -1, dtype=torch.float64)


def logarithmic(chunks: int) -> Float[Tensor, " k"]:
    """w_i = ln(N - i + 1) for i = 2..N: the last chunk weighs nothing."""
    return linear(chunks).log()


def late(chunks: int) -> Float[Tensor, " k"]:
    """w_i = i - 1 for i = 2..N: the last chunk weighs most. Not in the paper."""
    return linear(chunks).flip(0)


def relative_change(scores: Float[Tensor, "b n"]) -> Float[Tensor, "b n-1"]:
    """|M_i - M_1| / M_1 of the scores of chunks 2..N; infinite where M_1 = 0."""
    first = scores[:, :1].double()
    change = (scores[:, 1:].double() - first).abs() / first
    return change.where(first != 0, torch.inf)


def video_drift_error(scores: Float[Tensor, "b n"], weights: Weights = linear) -> Float[Tensor, " b"]:
    """VDE of each video from the scores of its chunks: sum over i >= 2 of w_i |M_i - M_1| / M_1.

    Not divided by the sum of the weights (45 for ten chunks). Infinite where M_1 = 0; 0 for a single chunk.
    Source: BlockVid (arXiv 2511.22973), VDE; weights and edge cases as in the official LV-Bench code.
    """
    chunks = scores.shape[1]
    if chunks < 2:
        return scores.new_zeros(len(scores), dtype=torch.float64)
    drift = (relative_change(scores) * weights(chunks).to(scores.device)).sum(dim=1)
    return drift.where(scores[:, 0] != 0, torch.inf)  # also where a weight of 0 met an infinite change


def chunk_scores(video: Float[Tensor, "b t 3 h w"], score: VideoScore) -> Float[Tensor, "b 10"]:
    """Score of each of ten equal chunks; frames beyond 10 floor(t / 10) are left out.

    Raises: ValueError for videos under ten frames.
    """
    length = video.shape[1] // CHUNKS
    if length == 0:
        raise ValueError(f"VDE needs at least {CHUNKS} frames, got {video.shape[1]}")
    chunks = video[:, : CHUNKS * length].unflatten(1, (CHUNKS, length))
    return torch.stack([score(chunk) for chunk in chunks.unbind(1)], dim=1)


class VideoDriftError(Metric):
    """Mean VDE over the videos whose first chunk has a score; how many have none is told by `infinite()`.

    VDE is linear in the relative changes of the chunks, so their sums give it for any weights: `compute()`
    with the paper's linear ones, `weighted(weights)` with others.
    """

    full_state_update = False
    change: Tensor
    count: Tensor
    skipped: Tensor

    def __init__(self, *, score: VideoScore) -> None:
        super().__init__()
        self.score = score
        changes = torch.zeros(CHUNKS - 1, dtype=torch.float64)
        self.add_state("change", default=changes, dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("skipped", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, video: Float[Tensor, "b t 3 h w"]) -> None:
        """Add a batch of videos in [0, 1] of at least ten frames."""
        scores = chunk_scores(video, self.score)
        begun = scores[:, 0] != 0
        self.change += relative_change(scores[begun]).sum(dim=0)
        self.count += begun.sum()
        self.skipped += (~begun).sum()

    def compute(self) -> Float[Tensor, ""]:
        return self._weighted(linear)

    def weighted(self, weights: Weights) -> Float[Tensor, ""]:
        """Mean VDE with other weights, over all processes."""
        with self.sync_context():
            return self._weighted(weights)

    def infinite(self) -> int:
        """How many videos have VDE infinite, over all processes."""
        with self.sync_context():
            return int(self.skipped)

    def _weighted(self, weights: Weights) -> Float[Tensor, ""]:
        mean = (self.change * weights(CHUNKS).to(self.change)).sum() / self.count
        return mean.where(self.count > 0, torch.inf)
