"""Structural similarity with a Gaussian window."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def ssim(predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t"]:
    """SSIM of each frame: 11x11 Gaussian (sigma 1.5), whole windows only, mean over channels, range 1.

    Raises: ValueError for frames under 11 pixels, which hold no whole window.
    Source: Wang et al. 2004; the settings are those of tf.image.ssim, which SAVP's evaluation uses.
    """
    b, t, c, h, w = truth.shape
    if min(h, w) < WINDOW:
        raise ValueError(f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels, got {h}x{w}")
    x = predicted.float().reshape(b * t * c, 1, h, w)
    y = truth.float().reshape(b * t * c, 1, h, w)
    # A variance is a difference of two large means; around each frame's own level the means are small,
    # so that float32 does not cancel in flat bright regions.
    level = y.mean(dim=(-2, -1), keepdim=True)
    x, y = x - level, y - level
    mu_x, mu_y, xx, yy, xy = _blur(torch.cat((x, y, x * x, y * y, x * y), dim=1)).unbind(1)
    var_x, var_y, cov = xx - mu_x * mu_x, yy - mu_y * mu_y, xy - mu_x * mu_y
    mu_x, mu_y = mu_x + level[:, 0], mu_y + level[:, 0]
    luminance = (2 * mu_x * mu_y + C1) / (mu_x * mu_x + mu_y * mu_y + C1)
    structure = (2 * cov + C2) / (var_x + var_y + C2)
    return (luminance * structure).mean(dim=(-2, -1)).reshape(b, t, c).mean(dim=-1)


def _blur(images: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k h2 w2"]:
    """Gaussian-weighted mean of every whole window; the window is separable."""
    offset = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weight = torch.softmax(-offset.square() / (2 * SIGMA**2), dim=0)
    k = images.shape[1]
    images = F.conv2d(images, weight.reshape(1, 1, -1, 1).expand(k, 1, -1, 1), groups=k)
    return F.conv2d(images, weight.reshape(1, 1, 1, -1).expand(k, 1, 1, -1), groups=k)
