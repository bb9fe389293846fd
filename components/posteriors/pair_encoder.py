"""SAVP's posterior: each latent is read from the two frames it explains."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.convolutions import initialised, instance_norm, linear, tile
from components.gaussian import DiagonalGaussian

LOG_VARIANCE_RANGE = (-10.0, 10.0)


class PairTrunk(nn.Module):
    """Every frame joined with the next one and the action between them, seen alone: (b, t-1, 4 channels).

    Three convolutions 4x4 of stride 2, instance norm after the second and third, leaky ReLU 0.2, mean over
    space. Source: SAVP's official code, networks.encoder.
    """

    def __init__(self, *, image_channels: int, action_dim: int, channels: int) -> None:
        super().__init__()
        self.action_dim = action_dim
        widths = [2 * image_channels + action_dim, channels, 2 * channels, 4 * channels]
        self.convolutions = nn.ModuleList()
        for inputs, outputs in pairwise(widths):
            layer = nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)
            self.convolutions.append(initialised(layer))
        self.norms = nn.ModuleList([nn.Identity(), *(instance_norm(width) for width in widths[2:])])
        self.out_features = widths[-1]

    def forward(
        self, video: Float[Tensor, "b t c h w"], actions: Float[Tensor, "b t-1 a"] | None
    ) -> Float[Tensor, "b t-1 f"]:
        given = 0 if actions is None else actions.shape[2]
        if given != self.action_dim:
            raise ValueError(
                f"the pair encoder was built for {self.action_dim} actions, it was given {given}"
            )
        x = torch.cat([video[:, :-1], video[:, 1:]], dim=2).flatten(0, 1)
        if actions is not None:
            x = torch.cat([x, tile(actions.flatten(0, 1), x)], dim=1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2)
        return x.mean(dim=(2, 3)).unflatten(0, (len(video), -1))


class PairEncoder(nn.Module):
    """q(z_t | x_t, x_t+1, a_t): video (b, t, c, h, w) in [0, 1] -> Gaussians (b, t-1, latent_dim).

    Log variances are clipped to [-10, 10]. In the official start the noise is some hundred times the signal,
    and a short training never hears the latents: `mean_gain` multiplies the first weights of the means, and
    `log_variance` is where the log variances start.
    Raises ValueError for actions missing or of another size.
    Source: SAVP (arXiv 1804.01523), posterior_fn of the official code without its optional RNN.
    """

    pairs_only = True

    def __init__(
        self,
        *,
        image_channels: int = 3,
        action_dim: int = 0,
        latent_dim: int = 8,
        channels: int = 64,
        mean_gain: float = 1.0,
        log_variance: float = 0.0,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.trunk = PairTrunk(image_channels=image_channels, action_dim=action_dim, channels=channels)
        self.mean = linear(self.trunk.out_features, latent_dim)
        self.log_variance = linear(self.trunk.out_features, latent_dim)
        with torch.no_grad():
            self.mean.weight.mul_(mean_gain)
            self.log_variance.bias.fill_(log_variance)

    def forward(
        self, video: Float[Tensor, "b t c h w"], actions: Float[Tensor, "b t-1 a"] | None = None
    ) -> DiagonalGaussian:
        features = self.trunk(video, actions)
        return DiagonalGaussian(self.mean(features), self.log_variance(features).clamp(*LOG_VARIANCE_RANGE))
