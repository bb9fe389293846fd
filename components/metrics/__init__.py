"""Frame metrics: predicted frames against the true ones, one number a frame.

| name | formula | range | better |
|---|---|---|---|
| psnr | -10 log10(mean squared error), peak 1 | 0 to 100 dB (same) | higher |
| ssim | (2 mx my + c1)(2 sxy + c2) / ((mx^2 + my^2 + c1)(sx^2 + sy^2 + c2)) | up to 1 (same) | higher |
| lpips | sum over five AlexNet maps of the mean of w (a - b)^2 | 0 (same) to 1.5 | lower |

m and s are means and (co)variances under a Gaussian window, averaged over windows and channels; a and b are
features of unit length, w learned weights.
Each is a function `metric(predicted, truth)` of two videos in [0, 1], (b, t, 3, h, w), that gives (b, t).
`FrameMetric` adds any of them up over batches and processes: the mean and the curve over time.
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
