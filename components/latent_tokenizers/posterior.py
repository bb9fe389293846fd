"""The posterior of a variational autoencoder, channels last."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.gaussian import DiagonalGaussian, kl_divergence
from components.randomness import ClipRandom

LOG_VARIANCES = -30.0, 20.0  # keeps exp of either sign finite


def posterior_of(moments: Float[Tensor, "b l i j moments"]) -> DiagonalGaussian:
    """Means in the first half of the channels, logarithms of variances in the second."""
    mean, log_variance = moments.chunk(2, dim=-1)
    return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCES))


def sample(posterior: DiagonalGaussian, random: ClipRandom) -> Float[Tensor, "b l i j c"]:
    """One draw a clip; gradients reach mean and variance."""
    return posterior.sample(random.normal(*posterior.mean.shape[1:]).to(posterior.mean))


def divergence(posterior: DiagonalGaussian) -> Float[Tensor, ""]:
    """KL from the standard normal: nats a latent pixel, over all its channels."""
    zero = torch.zeros_like(posterior.mean)
    return kl_divergence(posterior, DiagonalGaussian(zero, zero))
