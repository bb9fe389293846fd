"""One step of learning to give video back: what trainings of tokenizers and of latent dynamics share.

Reconstruction, a perceptual distance, a discriminator whose weight balances its gradient against the
reconstruction's at the last layer, and what the waist itself asks for. Source: VQGAN (arXiv 2012.09841,
eqs. 4-7).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from components.adversarial import AdversarialLoss
from components.adversarial.adaptive_weight import adaptive_weight
from components.clip import ClipSpec
from components.discriminators import Discriminator
from components.metrics.lpips import SMALLEST as LPIPS_SMALLEST
from components.metrics.lpips import lpips, lpips_available


class Reconstructing(Protocol):
    """A stage with two optimisers at most: the model's, and the discriminator's.

    weights: of `perceptual` (where LPIPS weights are installed) and `adversarial`, times the adaptive weight.
    adversarial_begin: step from which the discriminator counts; it trains from there on too.
    """

    distance: Callable[[Tensor, Tensor], Tensor]
    weights: dict[str, float]
    discriminator: Discriminator | None
    adversarial: AdversarialLoss
    adversarial_begin: int

    def optimizers(self) -> Optimizer | list[Optimizer]: ...

    def manual_backward(self, loss: Tensor) -> None: ...


def check_discriminator(discriminator: Discriminator | None, spec: ClipSpec) -> None:
    """Raise ValueError where it judges more frames than there are."""
    shortest = min(frames for frames, _, _ in spec.sizes())
    if discriminator is not None and discriminator.num_frames > shortest:
        told = f"judges {discriminator.num_frames} frames, a clip has {shortest}"
        raise ValueError(f"the discriminator {told}: set its num_frames or clip.num_frames")


def reconstruction_step(
    stage: Reconstructing,
    video: Float[Tensor, "b t 3 h w"],
    real: Float[Tensor, "b t 3 h w"],
    waist: Float[Tensor, ""],
    last_layer: nn.Parameter,
    step: int,
) -> dict[str, Float[Tensor, ""]]:
    """Update the discriminator, then the model that made `video`; gives `loss` and its parts.

    waist: the loss of what the video went through.
    """
    optimizers = stage.optimizers()
    optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
    losses = {"reconstruction": stage.distance(video, real), "waist": waist}
    pixel_loss = losses["reconstruction"]
    if stage.weights["perceptual"] and min(real.shape[-2:]) >= LPIPS_SMALLEST and lpips_available():
        losses["perceptual"] = lpips(video, real).mean()
        pixel_loss = pixel_loss + stage.weights["perceptual"] * losses["perceptual"]
    loss = pixel_loss + waist
    if stage.discriminator is not None and step >= stage.adversarial_begin:
        both = _logits(stage.discriminator, torch.cat([real, video.detach()]))
        losses["discriminator"] = stage.adversarial.discriminator(*both.chunk(2))
        _update(stage, optimizers[1], losses["discriminator"])
        losses["adversarial"] = stage.adversarial.generator(_logits(stage.discriminator, video))
        losses["adaptive_weight"] = adaptive_weight(pixel_loss, losses["adversarial"], last_layer)
        share = stage.weights["adversarial"] * losses["adaptive_weight"]
        loss = loss + share * losses["adversarial"]
    _update(stage, optimizers[0], loss)
    return losses | {"loss": loss}


def _logits(discriminator: Discriminator, video: Float[Tensor, "b t 3 h w"]) -> Tensor:
    """Of the first piece as long as the discriminator judges; every frame where that is one."""
    length = discriminator.num_frames
    return discriminator(video.flatten(0, 1).unsqueeze(1) if length == 1 else video[:, :length])[0]


def _update(stage: Reconstructing, optimizer: Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    stage.manual_backward(loss)
    optimizer.step()
