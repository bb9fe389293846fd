"""The generator of the robot pushing papers: CDNA and DNA of Finn et al. 2016, SNA, SV2P."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.backbones import FramePrediction
from components.backbones.conv_lstm import LSTMState
from components.backbones.pushing_unet import STRIDE, PushingUNet, xavier_initialised
from components.transformations import Transformation


class PushingState(NamedTuple):
    """What the generator carries from step to step, batch axis first everywhere."""

    first_frame: Float[Tensor, "b c h w"]
    cells: tuple[LSTMState, ...]
    latent: Float[Tensor, "b z"] | None  # the rollout's only latent, once it was given
    first_pixels: Float[Tensor, "b p h w"] | None

    def select(self, indices: Int[Tensor, " n"]) -> "PushingState":
        """Clips picked, repeated or reordered: a state for n candidate futures."""

        def pick(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.index_select(0, indices)

        cells = tuple(LSTMState(*(x.index_select(0, indices) for x in cell)) for cell in self.cells)
        first_frame = self.first_frame.index_select(0, indices)
        return PushingState(first_frame, cells, pick(self.latent), pick(self.first_pixels))


class PushingGenerator(nn.Module):
    """Predict the next frame as a blend of moved and new pixels; frames (b, c, h, w) in [0, 1].

    Three scales of ConvLSTMs with skips; action, robot state and latent enter at the bottleneck only. Layers,
    in this order: warps of the frame fed, the background (the frame fed or the first one), an image painted
    from scratch. The next robot state is linear in action and state.
    channels: width n of the ConvLSTMs, [n, 2n, 4n, 2n, n] over the scales.
    first_channels: of the convolution that reads the frame.
    lstms_per_scale: ConvLSTMs at each scale of the encoder, the bottleneck has one.
    latent_dim: whole maps of the bottleneck, height/8 * width/8 numbers each; 0 makes it deterministic.
    constant_latent: the first latent given serves for the whole rollout (SV2P's time-invariant form).
    relu_features: rectify the features that masks, scratch image and DNA read (CDNA and SNA do, SV2P not).
    relu_heads: rectify the logits of masks and scratch image, as the code of CDNA does.
    Raises ValueError for sizes that do not fit and for a missing or unexpected input.
    Source: Finn et al. 2016 (arXiv 1605.07157), SNA (1710.05268) and SV2P (1710.11252), as in the files
    dna_model, sna_model and sv2p_model of SAVP's code. There the first and the last code make ten CDNA
    kernels and blend nine; here the tenth is not made.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        transformation: Callable[..., Transformation],
        channels: int = 32,
        first_channels: int = 32,
        lstms_per_scale: int = 2,
        latent_dim: int = 0,
        constant_latent: bool = False,
        action_dim: int = 0,
        state_dim: int = 0,
        image_channels: int = 3,
        background: Literal["last", "first"] = "last",
        scratch_image: bool = True,
        relu_features: bool = True,
        relu_heads: bool = False,
    ) -> None:
        super().__init__()
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"frames of {height}x{width} do not fit PushingGenerator; "
                f"make both sides multiples of {STRIDE}"
            )
        area = height // STRIDE * (width // STRIDE)
        if latent_dim % area:
            raise ValueError(
                f"a latent of PushingGenerator is whole maps of {area} numbers at {height}x{width}; "
                f"set latent_dim to a multiple of {area}, not {latent_dim}"
            )
        self.latent_dim, self.action_dim, self.state_dim = latent_dim, action_dim, state_dim
        self.image_channels = image_channels
        self.constant_latent, self.background = constant_latent, background
        self.relu_heads = relu_heads
        self.unet = PushingUNet(
            in_channels=image_channels,
            channels=channels,
            first_channels=first_channels,
            lstms_per_scale=lstms_per_scale,
            given_channels=action_dim + state_dim + latent_dim // area,
            relu_features=relu_features,
        )
        features = self.unet.out_channels
        self.transformation = transformation(
            bottleneck_shape=(4 * channels, height // STRIDE, width // STRIDE), feature_channels=features
        )
        self.scratch = nn.Conv2d(features, image_channels, 1) if scratch_image else None
        self.masks = nn.Conv2d(features, self.transformation.num_warps + 1 + scratch_image, 1)
        self.state_model = nn.Linear(action_dim + state_dim, state_dim) if state_dim else None
        for part in (self.unet, self.scratch, self.masks, self.state_model):
            if part is not None:
                xavier_initialised(part)

    def initial_state(
        self, first_frame: Float[Tensor, "b c h w"], pixels: Float[Tensor, "b p h w"] | None = None
    ) -> PushingState:
        """The state before the first step: zero memories, and the first frame (and pixel maps) for good."""
        cells = self.unet.initial_state(first_frame)
        return PushingState(first_frame, cells, latent=None, first_pixels=pixels)

    def step(
        self,
        frame: Float[Tensor, "b c h w"],
        state: PushingState,
        *,
        latent: Float[Tensor, "b z"] | None = None,
        action: Float[Tensor, "b a"] | None = None,
        proprioception: Float[Tensor, "b s"] | None = None,
        pixels: Float[Tensor, "b p h w"] | None = None,
    ) -> tuple[FramePrediction, PushingState]:
        """One step: the frame fed (truth or own prediction) -> the next frame and the next state.

        `pixels` are probability maps of designated pixels, moved and blended as the frame is; they need an
        initial state made with pixels.
        """
        wanted = (self.latent_dim, self.action_dim, self.state_dim)
        given = tuple(0 if x is None else x.shape[1] for x in (latent, action, proprioception))
        if wanted != given:
            raise ValueError(
                f"PushingGenerator needs (latent, action, proprioception) of sizes {wanted}, not {given}"
            )
        if (pixels is None) != (state.first_pixels is None):
            raise ValueError(
                "designated pixels must be given to initial_state and to every step, or to neither"
            )
        if self.constant_latent and state.latent is not None:
            latent = state.latent
        empty = frame.new_zeros(len(frame), 0)
        vector = torch.cat([empty, *(x for x in (action, proprioception) if x is not None)], dim=1)
        bottleneck, features, cells = self.unet(frame, vector, latent, state.cells)

        motion = self.transformation(bottleneck, features)
        painted, logits = [], self.masks(features)
        if self.scratch is not None:
            paint = self.scratch(features)
            painted = [torch.sigmoid(F.relu(paint) if self.relu_heads else paint)]
        still = frame if self.background == "last" else state.first_frame
        layers = self._layers(motion, frame, [still, *painted])
        masks = (F.relu(logits) if self.relu_heads else logits).to(layers.dtype).softmax(dim=1)

        next_pixels, next_proprioception = None, None
        if pixels is not None and state.first_pixels is not None:
            kept = [] if self.scratch is None else [pixels]  # under new paint a pixel stays where it was
            stayed = pixels if self.background == "last" else state.first_pixels
            mass = _blend(masks, self._layers(motion, pixels, [stayed, *kept]))
            next_pixels = mass / mass.sum(dim=(2, 3), keepdim=True)
        if self.state_model is not None:
            next_proprioception = self.state_model(vector)
        prediction = FramePrediction(
            frame=_blend(masks, layers),
            masks=masks,
            layers=layers,
            proprioception=next_proprioception,
            pixels=next_pixels,
            regulariser=self.transformation.regulariser(motion),
        )
        held = latent if self.constant_latent else None
        return prediction, PushingState(state.first_frame, cells, held, state.first_pixels)

    def _layers(
        self, motion: Tensor, moving: Float[Tensor, "b c h w"], others: list[Tensor]
    ) -> Float[Tensor, "b m c h w"]:
        """Everything the masks choose from; the same for frames and for pixel maps."""
        warps = self.transformation.warp(moving, motion)
        return torch.cat([warps, *(layer[:, None] for layer in others)], dim=1)


def _blend(masks: Float[Tensor, "b m h w"], layers: Float[Tensor, "b m c h w"]) -> Float[Tensor, "b c h w"]:
    return (masks[:, :, None] * layers).sum(dim=1)
