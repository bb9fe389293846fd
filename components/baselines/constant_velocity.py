"""Constant-velocity extrapolation of the motion between the last two context frames."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

CELL = 2  # pixels; windows are wide, so that one every other pixel is enough
STILL = 0.5  # a motion must leave at most this share of the difference that standing still leaves
RIVAL = 0.03  # one clear motion is better than any other by this share of that difference
NOISE = 1e-6  # mean squared difference of windows that are the same for all purposes
CHANGED = 0.05**2  # mean squared difference of a window in which something moves
VISIBLE = 0.02**2  # squared difference under which two colours are the same
GROUND = 0.1  # where less of the frame than this stands still, the camera moves
FINEST = 128  # pixels; frames with a side under that are searched as they are


class ConstantVelocity:
    """Carry every moving pixel along its own straight line; what stands still stays.

    The displacement of each pixel between the last two frames is found by block matching: least mean
    squared difference over windows of about 2 radius + 1 pixels (twice and four times that where they show
    too little), up to `reach` pixels each way, then to a fraction of a pixel; frames of 128 pixels or more
    start from half their size. Frame k takes each moving pixel k displacements further. Moving pixels cover
    still ones, and what they leave behind is filled from the still pixels around it, or from all pixels
    around it where the camera moves.
    Exact for an object that shifts by whole pixels over a flat ground.
    """

    def __init__(self, *, reach: int = 8, radius: int = 5) -> None:
        self.reach = reach
        self.radius = radius

    def __call__(self, context: Float[Tensor, "b c 3 h w"], horizon: int) -> Float[Tensor, "b t 3 h w"]:
        after = context[:, -1]
        if context.shape[1] == 1:
            return after.unsqueeze(1).repeat(1, horizon, 1, 1, 1)
        before = context[:, -2]
        flow = self._displacement(before, after)
        moving, ground = _layers(before, after, flow)
        frames = [_carry(after, flow * k, moving, ground) for k in range(1, horizon + 1)]
        return torch.stack(frames, dim=1)

    def _displacement(
        self, before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """How far each pixel of `after` has come since `before`, (x, y) in pixels."""
        h, w = after.shape[-2:]
        radii = [self.radius, 2 * self.radius, 4 * self.radius]
        if min(h, w) < FINEST:
            return _match(before, after, reach=self.reach, radii=radii)
        small = [F.interpolate(x, size=(h // 2, w // 2), mode="area") for x in (before, after)]
        flow = 2 * F.interpolate(self._displacement(*small), size=(h, w), mode="nearest")
        rest = _match(_warp(before, flow), after, reach=2, radii=radii[:1])
        return flow + rest * _moves(flow)


def _match(
    before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], *, reach: int, radii: list[int]
) -> Float[Tensor, "b 2 h w"]:
    """Displacement of least cost over the smallest window that shows one motion clearly, else zero.

    A straight edge alone moves in many ways that look the same: then the next larger window decides. A window
    that has changed without showing a motion (two objects, ground uncovered) goes with its neighbours.
    """
    error, known = _errors(before, after, reach)
    flow = error.new_zeros(error.shape[0], 2, *error.shape[-2:])
    clear = torch.zeros_like(flow[:, :1], dtype=torch.bool)
    for radius in reversed(radii):
        cells = max(1, radius // CELL)
        seen = _box(known, cells)
        cost = _box(error * known, cells) / seen.clamp_min(1e-3)
        hidden = seen < seen.amax(dim=(1, 2), keepdim=True) / 2  # mostly out of the frame
        candidate, least, rival = _vertex(cost.masked_fill(hidden, torch.inf))
        stayed = cost[:, reach, reach].unsqueeze(1)
        shows = least < STILL * stayed - NOISE
        one = shows & (rival > least + RIVAL * stayed)
        flow = torch.where(one | (shows & ~clear), candidate, flow)
        clear |= one
    changed = (stayed > CHANGED) & ~_moves(flow)
    flow = _agree(torch.where(changed, _fill(flow, _moves(flow)), flow))
    h, w = after.shape[-2:]
    return flow.repeat_interleave(CELL, dim=-2).repeat_interleave(CELL, dim=-1)[..., :h, :w]


def _errors(
    before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], reach: int
) -> tuple[Float[Tensor, "b n n i j"], Float[Tensor, "1 n n i j"]]:
    """Mean squared difference of cells for every displacement, and the share of each inside the frame."""
    h, w = after.shape[-2:]
    odd = (0, w % CELL, 0, h % CELL)
    padded = F.pad(before, [reach] * 4)
    inside = F.pad(torch.ones_like(before[:1, :1]), [reach] * 4)
    errors, known = [], []
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            rows, columns = slice(reach - y, reach - y + h), slice(reach - x, reach - x + w)
            seen = inside[..., rows, columns]
            error = (after - padded[..., rows, columns]).square_().sum(dim=1, keepdim=True).mul_(seen / 3)
            share = F.avg_pool2d(F.pad(seen, odd), CELL)
            errors.append(F.avg_pool2d(F.pad(error, odd), CELL) / share.clamp_min(1 / CELL**2))
            known.append(share)
    n = 2 * reach + 1
    return torch.cat(errors, dim=1).unflatten(1, (n, n)), torch.cat(known, dim=1).unflatten(1, (n, n))


def _vertex(
    cost: Float[Tensor, "b n n i j"],
) -> tuple[Float[Tensor, "b 2 i j"], Float[Tensor, "b 1 i j"], Float[Tensor, "b 1 i j"]]:
    """The displacement of least cost (the smaller of equals), to a fraction of a pixel; its cost; the next.

    The fraction is the vertex of the parabola through the costs on both sides. They differ beside an exact
    match too, so the vertex may be no further out than the cost left at the centre, cost(s) = curvature s^2,
    can explain.
    """
    n = cost.shape[1]
    step = torch.arange(n, device=cost.device) - n // 2
    length = (step.square()[:, None] + step.square()).reshape(1, -1, 1, 1)
    flat = cost.flatten(1, 2)
    best = (flat + 1e-3 * NOISE * length).argmin(dim=1, keepdim=True)
    row, column = best // n, best % n
    ringed = F.pad(cost, (0, 0, 0, 0, 1, 1, 1, 1), value=torch.inf).flatten(1, 2)

    def beside(rows: int, columns: int) -> Tensor:
        return ringed.gather(1, (row + 1 + rows) * (n + 2) + column + 1 + columns)

    least = centre = flat.gather(1, best)
    fractions = []
    for left, right in ((beside(0, -1), beside(0, 1)), (beside(-1, 0), beside(1, 0))):
        measured = (left + right).isfinite()
        curvature = ((left + right) / 2 - centre).clamp_min(1e-12).where(measured, torch.inf)
        most = (centre / curvature).sqrt().clamp_max(0.5)
        fraction = ((left - right) / (4 * curvature)).where(measured, 0.0).clamp(-most, most)
        least = least - (curvature * fraction.square()).where(measured, 0.0)
        fractions.append(fraction)
    x, y = column - n // 2 + fractions[0], row - n // 2 + fractions[1]
    rival = flat.scatter(1, best, torch.inf).amin(dim=1, keepdim=True)
    return torch.cat((x, y), dim=1), least, rival


def _agree(flow: Float[Tensor, "b 2 i j"], radius: int = 5) -> Float[Tensor, "b 2 i j"]:
    """Give every moving cell the mean of those around it that move as it does, within a pixel."""
    b, _, i, j = flow.shape
    for _ in range(2):
        near = F.unfold(flow, 2 * radius + 1, padding=radius).reshape(b, 2, -1, i, j)
        alike = (near - flow.unsqueeze(2)).square().sum(dim=1, keepdim=True) < 1
        alike &= near.ne(0).any(dim=1, keepdim=True)
        mean = (near * alike).sum(dim=2) / alike.sum(dim=2).clamp_min(1)
        flow = torch.where(_moves(flow), mean, flow)
    return flow


def _layers(
    before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], flow: Float[Tensor, "b 2 h w"]
) -> tuple[Bool[Tensor, "b 1 h w"], Float[Tensor, "b 3 h w"]]:
    """Which pixels move, and the ground behind them (not a number where the camera moves).

    A window beside a moving object seems to move as well. There a still texture gives itself away, by values
    that no pixel had where it would have come from, and so does the colour of the ground.
    """
    came = _warp(before, flow)
    above = after - F.max_pool2d(came, 3, stride=1, padding=1)
    below = -F.max_pool2d(-came, 3, stride=1, padding=1) - after
    moved = torch.maximum(above, below).clamp_min(0).square().mean(dim=1, keepdim=True)
    stayed = (after - before).square().mean(dim=1, keepdim=True)
    moving = _moves(flow) & (F.avg_pool2d(moved - stayed, 3, stride=1, padding=1) < VISIBLE)
    ground = _fill(after, ~moving)
    camera = (~moving).to(after.dtype).mean(dim=(1, 2, 3), keepdim=True) < GROUND
    moving &= camera | ((after - ground).square().mean(dim=1, keepdim=True) > VISIBLE)
    return moving, torch.where(camera, torch.nan, ground)


def _carry(
    image: Float[Tensor, "b 3 h w"],
    flow: Float[Tensor, "b 2 h w"],
    moving: Bool[Tensor, "b 1 h w"],
    ground: Float[Tensor, "b 3 h w"],
) -> Float[Tensor, "b 3 h w"]:
    """Move pixels by `flow`, each shared among the four pixels where it lands, and lay them on the ground."""
    b, _, h, w = image.shape
    rows = torch.arange(h, device=image.device, dtype=image.dtype)[:, None]
    columns = torch.arange(w, device=image.device, dtype=image.dtype)
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    left, top = x.floor(), y.floor()
    painted = torch.cat((image, torch.ones_like(image[:, :1])), dim=1) * moving
    landed = torch.zeros_like(painted).flatten(2)
    for column, across in ((left, left + 1 - x), (left + 1, x - left)):
        for row, down in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            place = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).long()
            share = painted * (across * down * inside).unsqueeze(1)
            landed.scatter_add_(2, place.flatten(1).unsqueeze(1).expand(-1, 4, -1), share.flatten(2))
    colour, weight = landed.reshape(b, 4, h, w).split((3, 1), dim=1)
    colour = colour / weight.clamp_min(1e-6)
    opacity = weight.clamp_max(1.0)
    around = _fill(torch.where(weight > 0.5, colour, image), (weight > 0.5) | ~moving)
    ground = torch.where(ground.isnan(), around, ground)
    return (opacity * colour + (1 - opacity) * ground).clamp(0, 1)  # rounding may leave the range


def _fill(image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
    """Give unknown pixels the mean of the known ones around them, from ever coarser levels."""
    if known.all() or image.shape[-1] * image.shape[-2] == 1:
        return image
    weight = F.avg_pool2d(known.to(image.dtype), 2, ceil_mode=True)
    small = F.avg_pool2d(image * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
    coarse = _fill(small, weight > 0)
    return torch.where(known, image, F.interpolate(coarse, size=image.shape[-2:], mode="nearest"))


def _warp(image: Float[Tensor, "b 3 h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 3 h w"]:
    """The image as it looks after moving by `flow`; pixels from outside the frame are those at its border."""
    h, w = image.shape[-2:]
    rows = torch.arange(h, device=image.device, dtype=image.dtype)[:, None]
    columns = torch.arange(w, device=image.device, dtype=image.dtype)
    x, y = (columns - flow[:, 0]).clamp(0, w - 1), (rows - flow[:, 1]).clamp(0, h - 1)
    grid = torch.stack((2 * x / (w - 1) - 1, 2 * y / (h - 1) - 1), dim=-1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def _moves(flow: Float[Tensor, "b 2 h w"]) -> Bool[Tensor, "b 1 h w"]:
    return flow.ne(0).any(dim=1, keepdim=True)


def _box(cells: Float[Tensor, "b n n i j"], radius: int) -> Float[Tensor, "b n n i j"]:
    """Sum over windows of 2 radius + 1 cells, cut off at the frame."""
    rows, columns = (torch.arange(size, device=cells.device) for size in cells.shape[-2:])
    above = ((rows[:, None] - rows).abs() <= radius).to(cells.dtype)
    beside = ((columns[:, None] - columns).abs() <= radius).to(cells.dtype)
    return above @ (cells @ beside)  # products with bands of ones: far faster on a CPU than running sums
