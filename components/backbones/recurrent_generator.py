"""SAVP's generator: a convolutional LSTM U-Net that moves pixels and blends the moved copies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.backbones import FramePrediction
from components.backbones.conv_lstm import LSTMCell, LSTMState
from components.backbones.convolutions import conv, conv_norm_relu, linear
from components.backbones.recurrent_unet import RecurrentUNet
from components.transformations import Transformation


class GeneratorState(NamedTuple):
    """What the generator carries from step to step, batch axis first everywhere."""

    first_frame: Float[Tensor, "b c h w"]
    frames: Float[Tensor, "b l c h w"]  # the last frames fed, oldest first
    latent: LSTMState | None
    cells: tuple[LSTMState | None, ...]  # one entry a stage, None where it has no ConvLSTM
    first_pixels: Float[Tensor, "b p h w"] | None
    pixels: Float[Tensor, "b l p h w"] | None  # the last pixel maps fed

    def select(self, indices: Int[Tensor, " n"]) -> "GeneratorState":
        """Clips picked, repeated or reordered: a state for n candidate futures."""
        return _map(lambda x: x.index_select(0, indices), self)


def _map(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    if tree is None:
        return tree
    if isinstance(tree, Tensor):
        return function(tree)
    branches = [_map(function, branch) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


class RecurrentGenerator(nn.Module):
    """Predict the next frame as a blend of moved and new pixels; frames (b, c, h, w) in [0, 1].

    A latent LSTM smooths the latents over time: r = LSTM(z); without `latent_lstm` r = z, which is heard
    sooner. The vector (action, state, r) is laid over the input of every convolution and ConvLSTM of the
    U-Net, and the first frame of the clip is always beside the frame fed.
    Layers, in this order: warps of the last frames, the frame fed, the first frame, an image
    painted from scratch. The next state is linear in action and state; the convolutions see the state
    without gradient.
    Raises ValueError for sizes that do not fit (see RecurrentUNet) and for a missing or unexpected input.
    Source: SAVP (arXiv 1804.01523), class SAVPCell of the official code.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        transformation: Callable[..., Transformation],
        channels: int = 32,
        latent_dim: int = 8,
        action_dim: int = 0,
        state_dim: int = 0,
        image_channels: int = 3,
        last_frames: int = 1,
        previous_frame_background: bool = True,
        first_frame_background: bool = True,
        scratch_image: bool = True,
        dependent_masks: bool = True,
        latent_lstm: bool = True,
    ) -> None:
        super().__init__()
        self.latent_dim, self.action_dim, self.state_dim = latent_dim, action_dim, state_dim
        self.image_channels = image_channels
        self.last_frames = last_frames
        self.previous_frame_background = previous_frame_background
        self.first_frame_background = first_frame_background
        self.dependent_masks = dependent_masks
        self.unet = RecurrentUNet(
            height=height,
            width=width,
            in_channels=2 * image_channels,
            channels=channels,
            vector_dim=latent_dim + action_dim + state_dim,
        )
        features = self.unet.out_channels
        smooth = latent_dim and latent_lstm
        self.latent_lstm = LSTMCell(in_features=latent_dim, features=latent_dim) if smooth else None
        self.state_model = linear(action_dim + state_dim, state_dim) if state_dim else None
        self.transformation = transformation(
            bottleneck_shape=self.unet.bottleneck_shape, feature_channels=features, num_frames=last_frames
        )
        self.scratch = (
            nn.Sequential(conv_norm_relu(features, features), conv(features, image_channels, 3), nn.Sigmoid())
            if scratch_image
            else None
        )
        num_layers = last_frames * self.transformation.num_warps
        num_layers += previous_frame_background + first_frame_background + scratch_image
        self.mask_features = conv_norm_relu(features, features)
        seen = num_layers * image_channels if dependent_masks else 0
        self.masks = conv(features + seen, num_layers, 3)

    def initial_state(
        self, first_frame: Float[Tensor, "b c h w"], pixels: Float[Tensor, "b p h w"] | None = None
    ) -> GeneratorState:
        """The state before the first step: zero memories, and the first frame (and pixel maps) for good."""
        return GeneratorState(
            first_frame=first_frame,
            frames=first_frame[:, None].expand(-1, self.last_frames, -1, -1, -1),
            latent=None if self.latent_lstm is None else self.latent_lstm.initial_state(first_frame),
            cells=self.unet.initial_state(first_frame),
            first_pixels=pixels,
            pixels=None if pixels is None else pixels[:, None].expand(-1, self.last_frames, -1, -1, -1),
        )

    def step(
        self,
        frame: Float[Tensor, "b c h w"],
        state: GeneratorState,
        *,
        latent: Float[Tensor, "b z"] | None = None,
        action: Float[Tensor, "b a"] | None = None,
        proprioception: Float[Tensor, "b s"] | None = None,
        pixels: Float[Tensor, "b p h w"] | None = None,
    ) -> tuple[FramePrediction, GeneratorState]:
        """One step: the frame fed (truth or own prediction) -> the next frame and the next state.

        `pixels` are probability maps of designated pixels, moved and blended as the frame is; they need an
        initial state made with pixels.
        """
        vector, latent_state = self._vector(state, latent, action, proprioception)
        if (pixels is None) != (state.pixels is None):
            raise ValueError(
                "designated pixels must be given to initial_state and to every step, or to neither"
            )
        shown = torch.cat([frame, state.first_frame], dim=1)
        bottleneck, x, cells = self.unet(shown, vector, state.cells)

        motion = self.transformation(bottleneck, x)
        frames = _push(state.frames, frame)
        scratch = [] if self.scratch is None else [self.scratch(x)]
        layers = self._layers(motion, frames, state.first_frame, scratch)
        features = self.mask_features(x)
        seen = [features, layers.flatten(1, 2)] if self.dependent_masks else [features]
        masks = self.masks(torch.cat(seen, dim=1)).to(layers.dtype).softmax(dim=1)

        moved_pixels, next_pixels = None, None
        if pixels is not None and state.pixels is not None and state.first_pixels is not None:
            moved_pixels = _push(state.pixels, pixels)
            kept = [] if self.scratch is None else [pixels]  # under new paint a pixel stays where it was
            mass = _blend(masks, self._layers(motion, moved_pixels, state.first_pixels, kept))
            next_pixels = mass / mass.sum(dim=(2, 3), keepdim=True)
        prediction = FramePrediction(
            frame=_blend(masks, layers),
            masks=masks,
            layers=layers,
            proprioception=self._next_state(action, proprioception),
            pixels=next_pixels,
            regulariser=self.transformation.regulariser(motion),
        )
        return prediction, GeneratorState(
            state.first_frame, frames, latent_state, cells, state.first_pixels, moved_pixels
        )

    def _vector(
        self,
        state: GeneratorState,
        latent: Tensor | None,
        action: Tensor | None,
        proprioception: Tensor | None,
    ) -> tuple[Float[Tensor, "b v"], LSTMState | None]:
        """What is laid over the image: action, state behind a stopped gradient, smoothed latent."""
        wanted = (self.latent_dim, self.action_dim, self.state_dim)
        given = tuple(0 if x is None else x.shape[1] for x in (latent, action, proprioception))
        if wanted != given:
            raise ValueError(
                f"RecurrentGenerator needs (latent, action, proprioception) of sizes {wanted}, not {given}"
            )
        parts, latent_state = [], None
        if action is not None:
            parts.append(action)
        if proprioception is not None:
            parts.append(proprioception.detach())
        if latent is not None:
            if self.latent_lstm is not None and state.latent is not None:
                latent, latent_state = self.latent_lstm(latent, state.latent)
            parts.append(latent)
        empty = state.first_frame.new_zeros(len(state.first_frame), 0)
        return torch.cat([*parts, empty], dim=1), latent_state

    def _layers(
        self,
        motion: Tensor,
        frames: Float[Tensor, "b l c h w"],
        first: Float[Tensor, "b c h w"],
        painted: list[Tensor],
    ) -> Float[Tensor, "b m c h w"]:
        """Everything the masks choose from; the same for frames and for pixel maps."""
        still = [frames[:, -1]] if self.previous_frame_background else []
        still += [first] if self.first_frame_background else []
        sources = zip(frames.unbind(1), motion.chunk(self.last_frames, dim=1), strict=True)
        warps = [self.transformation.warp(source, part) for source, part in sources]
        return torch.cat([*warps, *(layer[:, None] for layer in [*still, *painted])], dim=1)

    def _next_state(self, action: Tensor | None, proprioception: Tensor | None) -> Tensor | None:
        if self.state_model is None or proprioception is None:
            return None
        return self.state_model(torch.cat([x for x in (action, proprioception) if x is not None], dim=1))


def _push(last: Float[Tensor, "b l ..."], newest: Float[Tensor, "b ..."]) -> Float[Tensor, "b l ..."]:
    return torch.cat([last[:, 1:], newest[:, None]], dim=1)


def _blend(masks: Float[Tensor, "b m h w"], layers: Float[Tensor, "b m c h w"]) -> Float[Tensor, "b c h w"]:
    return (masks[:, :, None] * layers).sum(dim=1)
