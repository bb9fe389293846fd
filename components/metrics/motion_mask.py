"""Where something moves in a video, as Physics-IQ sees it."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

RED, GREEN, BLUE = 9798, 19235, 3735  # of 2^15: shares of the channels in grey, as OpenCV rounds them
BLUR = (1, 4, 6, 4, 1)  # of 16: OpenCV's 5-pixel Gaussian
FRESH = 0.3  # share of a new frame in the running background
THRESHOLD = 10  # grey levels of 255
KERNEL = 5  # pixels, of opening and closing


def motion_masks(video: Float[Tensor, "b t 3 h w"]) -> Bool[Tensor, "b t h w"]:
    """Pixels that differ from a running background; frame 0, which starts the background, has none.

    Follows the released code of Physics-IQ (arXiv 2501.09038), not its paper, which takes differences of
    frames: grey levels of 8 bits, a 5x5 Gaussian, a background that takes in 0.3 of each frame before it is
    compared, more than 10 levels of difference, opening, then closing.
    """
    grey = _blur(_grey(video))
    background = grey[:, 0].double()
    masks = [torch.zeros_like(grey[:, 0])]
    for frame in grey[:, 1:].unbind(1):
        background = (1 - FRESH) * background + FRESH * frame.double()
        moving = ((frame - background.round()).abs() > THRESHOLD).float()
        opened = _dilate(_erode(moving))
        masks.append(_erode(_dilate(opened)).float())
    return torch.stack(masks, dim=1) > 0


def shrink_masks(masks: Bool[Tensor, "b t h w"], factor: int) -> Bool[Tensor, "b t h2 w2"]:
    """Bilinear reduction and a threshold at one half, as the released code does with its factor of 4."""
    return shrink_frames(masks.float().unsqueeze(2), factor).squeeze(2) > 127 / 255


def shrink_frames(video: Float[Tensor, "b t c h w"], factor: int) -> Float[Tensor, "b t c h2 w2"]:
    """Bilinear reduction without smoothing, as OpenCV's."""
    if factor == 1:
        return video
    h, w = video.shape[-2] // factor, video.shape[-1] // factor
    small = F.interpolate(video.flatten(0, 1), size=(h, w), mode="bilinear", align_corners=False)
    return small.unflatten(0, video.shape[:2])


def _grey(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t h w"]:
    red, green, blue = (video.float() * 255).round().clamp(0, 255).unbind(2)
    return ((RED * red + GREEN * green + BLUE * blue + 2**14) / 2**15).floor()


def _blur(grey: Float[Tensor, "b t h w"]) -> Float[Tensor, "b t h w"]:
    """Whole numbers all the way, so that it is exact in float32."""
    h, w = grey.shape[-2:]
    images = F.pad(grey, (2, 2, 2, 2), mode="reflect")
    rows = sum((k * images[..., i : i + h, :] for i, k in enumerate(BLUR)), torch.zeros(()))
    both = sum((k * rows[..., i : i + w] for i, k in enumerate(BLUR)), torch.zeros(()))
    return ((both + 128) / 256).floor()


def _dilate(mask: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    rows = F.max_pool2d(mask, (KERNEL, 1), stride=1, padding=(KERNEL // 2, 0))
    return F.max_pool2d(rows, (1, KERNEL), stride=1, padding=(0, KERNEL // 2))


def _erode(mask: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    return -_dilate(-mask)  # pooling ignores what is outside, as OpenCV does
