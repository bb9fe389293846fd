"""Metrics: what is measured on predicted videos, one idea a file.

Frame functions compare each predicted frame with the true one, `metric(predicted, truth)` of two videos in
[0, 1], (b, t, 3, h, w), that gives (b, t):

| name | formula | range | better |
|---|---|---|---|
| psnr | -10 log10(mean squared error), peak 1 | 0 to 100 dB (same) | higher |
| ssim | (2 mx my + c1)(2 sxy + c2) / ((mx^2 + my^2 + c1)(sx^2 + sy^2 + c2)) | up to 1 (same) | higher |
| lpips | sum over five AlexNet maps of the mean of w (a - b)^2 | 0 (same) to 1.5 | lower |
| absolute_difference | mean absolute difference | 0 (same) to 1 | lower |

m and s are means and (co)variances under a Gaussian window, averaged over windows and channels; a and b are
features of unit length, w learned weights.

Metrics add up over batches and processes; none keeps a video:

| name | what it adds up | range | better |
|---|---|---|---|
| frame_metric | a frame function: its mean and its curve over time | the function's | the function's |
| best_of | best, mean and worst of N futures by the time mean of a frame function | the function's | same |
| start_end_delta | first 15 % of a frame function against its last 15 % | from 0 | lower |
| frechet | distance of Gaussians fitted to features of predicted and true videos | from 0 (same) | lower |
| video_drift_error | change of a score of the video against its beginning (VDE) | from 0 | lower |
| bradley_terry | ratings of players from their games, with intervals | Elo points | higher |
| code_usage | share of a codebook in use, and the perplexity of its codes | to 1; to its size | higher |
| spread | how differently videos of a set end, over how differently true ones do | from 0 | near 1 |
| motion_amount | change from frame to frame, over the truth's | from 0 (frozen) | near 1 |
| rollout_cost | seconds and peak memory of each frame as it is made | from 0 | lower |

video_features holds the networks that a Frechet distance may look through, video_scores the scores whose
drift is followed; ball_parser, motion_mask and the physics files measure balls and masks instead of frames.
docs/evaluation.md has each metric's formula, and what fools it.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class FrameFunction(Protocol):
    """Compare every frame with its truth."""

    def __call__(
        self, predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]
    ) -> Float[Tensor, "b t"]: ...


@runtime_checkable
class VideoScore(Protocol):
    """Judge a video by itself, without its truth."""

    def __call__(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, " b"]: ...


@runtime_checkable
class VideoFeatures(Protocol):
    """A frozen network that sees a video in [0, 1] as one vector.

    distance: what a Frechet distance over these features is called.
    dim: length of the vector.
    min_frames: shortest video it can judge.
    """

    distance: str
    dim: int
    min_frames: int

    def __call__(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]: ...
