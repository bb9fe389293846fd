"""A video in parts along time: first 1 + k step frames, then k step at a time."""

from jaxtyping import Float
from torch import Tensor


def in_parts(x: Float[Tensor, "b t ..."], step: int | None) -> list[Float[Tensor, "b p ..."]]:
    """Parts of 1 + step frames, then step each, the last one shorter; None = one part."""
    if step is None or x.shape[1] <= 1 + step:
        return [x]
    return [x[:, : 1 + step], *x[:, 1 + step :].split(step, dim=1)]


def check_part(num_frames: int, step: int, begins: bool) -> None:
    """Raises ValueError for a part of a length that does not fit its place."""
    if num_frames < 1 or num_frames % step != (1 % step if begins else 0):
        needs = f"1 + k * {step}" if begins else f"k * {step}"
        place = "first" if begins else "next"
        raise ValueError(f"the {place} part of this video needs {needs} frames, not {num_frames}")
