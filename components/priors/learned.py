"""A prior that reads the context and dreams on."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.conv_lstm import LSTMCell
from components.backbones.convolutions import linear
from components.gaussian import DiagonalGaussian
from components.posteriors.pair_encoder import LOG_VARIANCE_RANGE, PairTrunk


class LearnedPrior(nn.Module):
    """p(z_t | context): context (b, c, k, h, w) in [0, 1] -> Gaussians (b, num_latents, latent_dim).

    Features of the context's frame pairs, zeros for the future, a linear layer, an LSTM over time, two linear
    heads. Log variances are clipped to [-10, 10].
    Raises ValueError for fewer latents than the context has transitions, and for actions of another size.
    Source: SAVP's official code, prior_fn; there the actions of the whole clip meet the pairs of the context,
    which fails unless the clip is all context, so only the context's are used here.
    """

    def __init__(
        self, *, image_channels: int = 3, action_dim: int = 0, latent_dim: int = 8, channels: int = 64
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.trunk = PairTrunk(image_channels=image_channels, action_dim=action_dim, channels=channels)
        features = self.trunk.out_features
        self.input = linear(features, features)
        self.lstm = LSTMCell(in_features=features, features=features)
        self.mean = linear(features, latent_dim)
        self.log_variance = linear(features, latent_dim)

    def forward(
        self,
        context: Float[Tensor, "b c k h w"],
        num_latents: int,
        actions: Float[Tensor, "b c-1 a"] | None = None,
    ) -> DiagonalGaussian:
        future = num_latents - (context.shape[1] - 1)
        if future < 0:
            raise ValueError(f"{context.shape[1]} context frames have more than {num_latents} transitions")
        inputs = self.input(F.pad(self.trunk(context, actions), (0, 0, 0, future)))
        state, outputs = self.lstm.initial_state(inputs), []
        for x in inputs.unbind(1):
            hidden, state = self.lstm(x, state)
            outputs.append(hidden)
        h = torch.stack(outputs, dim=1)
        return DiagonalGaussian(self.mean(h), self.log_variance(h).clamp(*LOG_VARIANCE_RANGE))
