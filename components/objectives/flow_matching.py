"""Flow matching: learn the velocity along the straight path from latents to noise."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from components.distances import Distance
from components.flow_path import latent_tokens, noised
from components.loss_weights import LossWeight
from components.noise_levels import NoiseLevels
from components.randomness import ClipRandom


class Noised(NamedTuple):
    """What a network is shown, and what it should answer.

    sigma: a level for each clip, or for each of its frames.
    """

    x: Float[Tensor, "b l c i j"]
    sigma: Float[Tensor, "b *l"]
    velocity: Float[Tensor, "b l c i j"]
    noise: Float[Tensor, "b l c i j"]


class FlowMatching:
    """x = (1 - sigma) x0 + sigma noise; the network predicts the velocity noise - x0.

    Source: rectified flow (arXiv 2209.03003), eq. (1), in the direction where sigma = 1 is noise.
    """

    def __init__(self, *, levels: NoiseLevels, weight: LossWeight, distance: Distance) -> None:
        self.levels, self.weight, self.distance = levels, weight, distance

    def corrupt(
        self, x0: Float[Tensor, "b l c i j"], random: ClipRandom, *, groups: int | None = None
    ) -> Noised:
        """Draw a level for each clip, or for each of `groups` equal runs of its frames, and its noise.

        Raises ValueError if the frames make no `groups` equal runs.
        """
        num_frames = x0.shape[1]
        if groups is not None and (groups < 1 or num_frames % groups):
            raise ValueError(f"{num_frames} latent frames are no {groups} equal groups")
        sigma = self.levels.draw(random, latent_tokens(x0), groups)
        if groups is not None:
            sigma = sigma.repeat_interleave(num_frames // groups, dim=1)
        return self.at(x0, sigma, random.normal(*x0.shape[1:]))

    def at(
        self,
        x0: Float[Tensor, "b l c i j"],
        sigma: Float[Tensor, "b *l"],
        noise: Float[Tensor, "b l c i j"],
    ) -> Noised:
        """The same at given levels with given noise, which need not be independent from frame to frame."""
        return Noised(x=noised(x0, sigma, noise), sigma=sigma, velocity=noise - x0, noise=noise)

    def at_quantile(
        self, x0: Float[Tensor, "b l c i j"], quantile: float, noise: Float[Tensor, "b l c i j"]
    ) -> Noised:
        """The same at the level that a share `quantile` of training's levels does not exceed.

        Losses at fixed quantiles with fixed noise tell models apart; at drawn levels they are too noisy to.
        """
        sigma = self.levels.quantiles([quantile], latent_tokens(x0)).to(x0.device)
        return self.at(x0, sigma.expand(len(x0)), noise)

    def loss(
        self,
        predicted: Float[Tensor, "b l c i j"],
        velocity: Float[Tensor, "b l c i j"],
        sigma: Float[Tensor, "b *l"],
        mask: Float[Tensor, "b #l #c #i #j"] | Bool[Tensor, "b #l #c #i #j"] | None = None,
    ) -> Float[Tensor, " b"]:
        """The mean over what counts of each clip, weighted by level; clips are not averaged yet.

        mask: 1 or True where an element counts. Its sum divides, so that padding does not make a clip's
        loss smaller; a clip where nothing counts has loss 0.
        """
        errors = self.distance(predicted, velocity)
        weight = self.weight(sigma).reshape(len(sigma), -1)  # of frames, or one for all
        if mask is None:
            return (weight * errors.mean(dim=(2, 3, 4))).mean(dim=1)
        counts = mask.to(errors.dtype).expand_as(errors)
        total = (weight * (errors * counts).sum(dim=(2, 3, 4))).sum(dim=1)
        return total / counts.sum(dim=(1, 2, 3, 4)).clamp(min=torch.finfo(errors.dtype).tiny)
