"""Peak signal-to-noise ratio."""

from jaxtyping import Float
from torch import Tensor

CEILING_DB = 100.0  # identical frames would be infinite and swallow every mean they enter


def psnr(predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t"]:
    """PSNR of each frame in dB with peak 1, at most 100 dB.

    Source: SAVP's evaluation (arXiv 1804.01523, section 4.2): a value per frame first, means afterwards.
    """
    error = (predicted - truth).float().square().mean(dim=(-3, -2, -1))
    return -10.0 * error.clamp_min(10.0 ** (-CEILING_DB / 10.0)).log10()
