"""Backbones: the networks that turn what is known into what comes next.

Recurrent frame generators read one frame a step, carry a state and emit the next frame.

| name | parameters, 64x64 | blends | paper |
|---|---|---|---|
| recurrent_generator | 6.7 M | 4 CDNA warps, last, first frame, scratch image | SAVP |
| recurrent_generator_foresight | 5.9 M | 8 flow warps, last, first frame | Visual Foresight |
| finn_cdna | 12.2 M | 9 CDNA warps 9x9, last frame, scratch image | Finn 2016 |
| finn_dna | 6.3 M | a kernel a pixel 9x9, last frame | Finn 2016 |
| sna | 2.4 M | 10 CDNA warps, first frame, scratch image | SNA |
| sv2p | 8.1 M | 9 CDNA warps, last frame, scratch image; one latent a video | SV2P |

Token decoders read rows of token features, each token from those before it, and go on from a cache.

| name | parameters | attention | paper |
|---|---|---|---|
| causal_decoder | 3.2 M; 6.5 B as LLaMA-2 7B | causal inside each segment of a row, rotary positions | LWM |

Video denoisers give the velocity of noised latents; the past enters as segments cut into patches of any size.

| name | parameters | attention | paper |
|---|---|---|---|
| hunyuan_video | 3.2 M; 12.9 B as published | of video, image and text tokens together | FramePack |
| wan | 0.9 M; 1.4 B, 14.3 B as published | among video tokens, then to text and image | Wan |
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.backbones.denoiser import VideoDenoiser as VideoDenoiser


class FramePrediction(NamedTuple):
    """One step's output; every frame lies in [0, 1] because layers do and masks are convex.

    Several steps are joined by torch.stack over the field wanted.
    """

    frame: Float[Tensor, "b c h w"]
    masks: Float[Tensor, "b m h w"]  # sum to 1 over m
    layers: Float[Tensor, "b m c h w"]  # what the masks blend: warps, last frame, first frame, scratch image
    proprioception: Float[Tensor, "b s"] | None  # state expected after the action
    pixels: Float[Tensor, "b p h w"] | None  # where the designated pixels are, each map sums to 1
    regulariser: Float[Tensor, ""]  # the transformation's own penalty, 0 for all but flow


@runtime_checkable
class FrameGenerator(Protocol):
    """Predict the next frame from the frame fed and the state.

    The caller decides what is fed (truth, own prediction, a mix of both), so scheduled sampling, rollouts and
    planning live outside. The state is the generator's own NamedTuple of tensors, batch axis first, with
    select(indices), which picks, repeats or reorders clips: one context becomes n candidate futures.
    """

    image_channels: int
    latent_dim: int
    action_dim: int
    state_dim: int

    def initial_state(
        self, first_frame: Float[Tensor, "b c h w"], pixels: Float[Tensor, "b p h w"] | None = None
    ) -> Any: ...

    def step(
        self,
        frame: Float[Tensor, "b c h w"],
        state: Any,
        *,
        latent: Float[Tensor, "b z"] | None = None,
        action: Float[Tensor, "b a"] | None = None,
        proprioception: Float[Tensor, "b s"] | None = None,
        pixels: Float[Tensor, "b p h w"] | None = None,
    ) -> tuple[FramePrediction, Any]: ...


@runtime_checkable
class TokenDecoder(Protocol):
    """Features of tokens -> features to predict the next token from; causal inside each segment of a row.

    `new_cache` makes a cache for up to `length` tokens a row, whose `start` is the first real slot of each
    row; a call with it appends its tokens.
    """

    dim: int

    def __call__(
        self,
        x: Float[Tensor, "b s d"],
        *,
        positions: Int[Tensor, "b s"] | None = None,
        segments: Int[Tensor, "b s"] | None = None,
        cache: Any | None = None,
    ) -> Float[Tensor, "b s d"]: ...

    def new_cache(
        self, batch_size: int, length: int, *, dtype: torch.dtype, device: torch.device | str
    ) -> Any: ...
