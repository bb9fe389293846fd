"""Run a recurrent frame generator over time, fed true frames, its own, or a mix of both."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from components.backbones import FrameGenerator, FramePrediction


def unroll(
    generator: FrameGenerator,
    frames: Float[Tensor, "b known c h w"],
    num_steps: int,
    *,
    latents: Float[Tensor, "b t z"] | None = None,
    actions: Float[Tensor, "b ahead a"] | None = None,
    states: Float[Tensor, "b given s"] | None = None,
    truth: Bool[Tensor, "b t"] | None = None,
    designated: Float[Tensor, "b known p h w"] | None = None,
) -> Iterator[FramePrediction]:
    """Yield the predictions of frames 1, 2, ... num_steps, each as it is made.

    Step i is fed frame i where there is one, and the generator's own prediction of it afterwards; likewise
    states and designated pixels. Actions are needed for all steps; further ones are left alone.
    truth: fed frames and states are true where this is True and the model's own elsewhere (scheduled
        sampling); needs frames for all steps. The first step is always fed the truth.
    designated: where pixels to be followed are in the true frames, maps that sum to 1.

    First steps that are the same for the whole batch, as those of a planner's candidates are, are taken once.
    """
    b = len(frames)
    given = [x for x in (frames, latents, actions, states, designated) if x is not None]
    alike = _steps_alike(given, min(frames.shape[1], num_steps)) if truth is None else 0
    rows = slice(1 if alike else b)
    memory = generator.initial_state(frames[rows, 0], None if designated is None else designated[rows, 0])
    last: FramePrediction | None = None
    for i in range(num_steps):
        if rows.stop < b and i >= alike:
            rows, memory = slice(b), memory.select(torch.zeros(b, dtype=torch.long, device=frames.device))
        true = i < frames.shape[1]
        frame = frames[rows, i] if true or last is None else last.frame
        state = None
        if states is not None:
            state = states[rows, i] if true or last is None else last.proprioception
        if truth is not None and last is not None:
            frame = torch.where(truth[:, i, None, None, None], frame, last.frame)
            if state is not None and last.proprioception is not None:
                state = torch.where(truth[:, i, None], state, last.proprioception)
        pixels = None
        if designated is not None:
            pixels = designated[rows, i] if true or last is None else last.pixels
        last, memory = generator.step(
            frame,
            memory,
            latent=None if latents is None else latents[rows, i],
            action=None if actions is None else actions[rows, i],
            proprioception=state,
            pixels=pixels,
        )
        if rows.stop < b:
            last = _for_all(last, b)
        yield last


def _steps_alike(given: list[Float[Tensor, "b _t ..."]], limit: int) -> int:
    """How many of the first `limit` steps have the same inputs in every row; 0 for a single row."""
    if len(given[0]) == 1:
        return 0
    alike = torch.ones(limit, dtype=torch.bool, device=given[0].device)
    for x in given:
        known = x[:, :limit].flatten(2)
        alike[: known.shape[1]] &= (known == known[:1]).all(dim=2).all(dim=0)
    return int(alike.cumprod(0).sum())


def _for_all(one: FramePrediction, b: int) -> FramePrediction:
    """A prediction of one row as that of b equal ones."""
    return FramePrediction._make(x if x is None or not x.ndim else x.expand(b, *x.shape[1:]) for x in one)
