"""Where the balls of a picture are: red ball 1 and blue ball 2 on a light ground, in a world 10 wide.

| parser | a pixel counts | a pixel is wide | for |
|---|---|---|---|
| parse_paper | by threshold | 10 / n | comparing with PhyWorld's numbers |
| parse_unbiased | by threshold | 10 / (n - 1), as it is rendered | sharp pictures |
| parse_soft | by its share of the ball's colour | 10 / (n - 1) | all else: edges tell motion below a pixel |

The paper's width makes every speed too small by 1/n. All three undo what a soft edge of known softness takes
from the radius, and say NaN where there is no ball; `fill_missing` puts the paper's guess there.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

WORLD_SIZE = 10.0
FAINTEST = 0.1  # share of the ball's colour under which a pixel is noise
EDGE = 0.02  # of the width: how far from the pixels over the threshold a soft edge may reach
COUNTING_SIZE = 32  # pixels; bodies are counted on masks no larger


@dataclass(frozen=True)
class Tracks:
    """Two balls over time in world units, y up. centre, radius: NaN where no ball is seen.

    count: bodies seen in the colour of each ball.
    """

    centre: Float[Tensor, "b t 2 2"]
    radius: Float[Tensor, "b t 2"]
    count: Int[Tensor, "b t 2"]


def parse_paper(video: Float[Tensor, "b t 3 h w"], *, softness: float) -> Tracks:
    """Mean index of the pixels over the threshold, over n; as released with PhyWorld (arXiv 2411.02385)."""
    h, w = video.shape[-2:]
    mask = _masks(video)
    return _measure(mask.float(), mask, WORLD_SIZE / w, WORLD_SIZE / h, softness)


def parse_unbiased(video: Float[Tensor, "b t 3 h w"], *, softness: float) -> Tracks:
    """Mean place of the pixels over the threshold, pixel i of n lying at i / (n - 1)."""
    h, w = video.shape[-2:]
    mask = _masks(video)
    return _measure(mask.float(), mask, WORLD_SIZE / (w - 1), WORLD_SIZE / (h - 1), softness)


def parse_soft(video: Float[Tensor, "b t 3 h w"], *, softness: float) -> Tracks:
    """Mean place of the pixels near those over the threshold, weighed by their share of the ball's colour.

    A ball that only shows below the threshold is not seen, as with the other two.
    """
    h, w = video.shape[-2:]
    mask = _masks(video)
    reach = math.ceil(EDGE * w)
    near = F.max_pool2d(mask.flatten(0, 1).float(), (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    near = F.max_pool2d(near, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    red, green, blue = video.float().unbind(2)
    share = torch.stack((red - torch.maximum(green, blue), blue - torch.maximum(red, green)), dim=2)
    share = share.clamp(0.0, 1.0) * (share > FAINTEST) * near.reshape(mask.shape)
    return _measure(share, mask, WORLD_SIZE / (w - 1), WORLD_SIZE / (h - 1), softness)


def true_tracks(state: Float[Tensor, "b t 10"]) -> Tracks:
    """Tracks of a simulator's states: x, y, vx, vy, r of two balls, all zero for a ball that is not there."""
    balls = state.double().unflatten(-1, (2, 5))
    radius = balls[..., 4]
    there = radius > 0
    nan = torch.full_like(radius, torch.nan)
    centre = torch.where(there.unsqueeze(-1), balls[..., :2], nan.unsqueeze(-1))
    tracks = Tracks(centre, torch.where(there, radius, nan), there.long())
    return replace(tracks, count=(there & ~out_of_sight(tracks)).long())


def fully_visible(tracks: Tracks) -> Bool[Tensor, "b t 2"]:
    """Whether no part of a ball is outside the world."""
    radius = tracks.radius.unsqueeze(-1)
    return ((tracks.centre >= radius) & (tracks.centre <= WORLD_SIZE - radius)).all(dim=-1)


def out_of_sight(tracks: Tracks) -> Bool[Tensor, "b t 2"]:
    """Whether no part of a ball is in the world."""
    radius = tracks.radius.unsqueeze(-1)
    return ((tracks.centre <= -radius) | (tracks.centre >= WORLD_SIZE + radius)).any(dim=-1)


def fill_missing(tracks: Tracks, present: Bool[Tensor, "b 2"]) -> Tracks:
    """PhyWorld's guess for balls not seen: x at a border, height and radius as last seen.

    The border is the one a ball leaves by: left for ball 1 of two, else right. A ball that has not been seen
    yet keeps NaN for its height and radius.
    """
    missing = tracks.radius.isnan() & present.unsqueeze(1)
    left = present.all(dim=1, keepdim=True) & torch.tensor([True, False], device=present.device)
    border = torch.where(left, 0.0, WORLD_SIZE).to(tracks.centre).unsqueeze(1)
    x = torch.where(missing, border, tracks.centre[..., 0])
    y, radius = tracks.centre[..., 1].clone(), tracks.radius.clone()
    for i in range(1, radius.shape[1]):
        y[:, i] = torch.where(missing[:, i], y[:, i - 1], y[:, i])
        radius[:, i] = torch.where(missing[:, i], radius[:, i - 1], radius[:, i])
    return Tracks(torch.stack((x, y), dim=-1), radius, tracks.count)


def _masks(video: Float[Tensor, "b t 3 h w"]) -> Bool[Tensor, "b t 2 h w"]:
    """Pixels of each ball: its own channel over one half, the others under."""
    bright, dark = video > 0.5, video < 0.5
    red = bright[:, :, 0] & dark[:, :, 1] & dark[:, :, 2]
    blue = bright[:, :, 2] & dark[:, :, 0] & dark[:, :, 1]
    return torch.stack((red, blue), dim=2)


def _measure(
    weight: Float[Tensor, "b t 2 h w"],
    mask: Bool[Tensor, "b t 2 h w"],
    pixel_width: float,
    pixel_height: float,
    softness: float,
) -> Tracks:
    h, w = weight.shape[-2:]
    columns, rows = weight.sum(dim=-2).double(), weight.sum(dim=-1).double()
    area = columns.sum(dim=-1)
    right = torch.arange(w, device=weight.device, dtype=torch.float64)
    up = torch.arange(h - 1, -1, -1, device=weight.device, dtype=torch.float64)
    x, y = (columns * right).sum(dim=-1) / area, (rows * up).sum(dim=-1) / area
    seen = mask.any(dim=-1).any(dim=-1)
    # alpha = clip((r^2 - d^2) / (softness r^2), 0, 1) is over one half inside r sqrt(1 - softness / 2), and
    # has the area of that same disc
    radius = (area * pixel_width * pixel_height / (torch.pi * (1 - softness / 2))).sqrt()
    centre = torch.stack((x * pixel_width, y * pixel_height), dim=-1)
    nan = torch.full_like(radius, torch.nan)
    return Tracks(
        torch.where(seen.unsqueeze(-1), centre, nan.unsqueeze(-1)),
        torch.where(seen, radius, nan),
        _count(mask),
    )


def _count(mask: Bool[Tensor, "b t 2 h w"]) -> Int[Tensor, "b t 2"]:
    """Pieces that hang together, also over corners; every pixel takes the largest number among its piece."""
    size = math.ceil(max(mask.shape[-2:]) / COUNTING_SIZE)
    small = F.max_pool2d(mask.flatten(0, 1).float(), size, ceil_mode=True)
    numbers = torch.arange(1, small[0, 0].numel() + 1, device=mask.device).reshape(small.shape[-2:])
    own = small * numbers
    label = own
    while True:
        spread = F.max_pool2d(label, 3, stride=1, padding=1) * small
        if torch.equal(spread, label):
            break
        label = spread
    return ((label == own) & (small > 0)).sum(dim=(-2, -1)).reshape(mask.shape[:3])
