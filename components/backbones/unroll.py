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
    """
    memory = generator.initial_state(frames[:, 0], None if designated is None else designated[:, 0])
    last: FramePrediction | None = None
    for i in range(num_steps):
        true = i < frames.shape[1]
        frame = frames[:, i] if true or last is None else last.frame
        state = None
        if states is not None:
            state = states[:, i] if true or last is None else last.proprioception
        if truth is not None and last is not None:
            frame = torch.where(truth[:, i, None, None, None], frame, last.frame)
            if state is not None and last.proprioception is not None:
                state = torch.where(truth[:, i, None], state, last.proprioception)
        pixels = None
        if designated is not None:
            pixels = designated[:, i] if true or last is None else last.pixels
        last, memory = generator.step(
            frame,
            memory,
            latent=None if latents is None else latents[:, i],
            action=None if actions is None else actions[:, i],
            proprioception=state,
            pixels=pixels,
        )
        yield last
