"""The straight path between latents, at noise level 0, and noise, at level 1: what flow matching works on."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # (x, noise level of each sample) -> noise - latents, like x


def spread(sigma: Float[Tensor, "b *l"], x: Float[Tensor, "b *n"]) -> Float[Tensor, "b *m"]:
    """Levels of samples, or of their frames, with axes of size 1 appended so that they go with x."""
    return sigma.reshape(*sigma.shape, *(1 for _ in range(x.ndim - sigma.ndim)))


def noised(
    x0: Float[Tensor, "b *n"], sigma: Float[Tensor, "b *l"], noise: Float[Tensor, "b *n"]
) -> Float[Tensor, "b *n"]:
    """(1 - sigma) x0 + sigma noise."""
    sigma = spread(sigma, x0)
    return (1 - sigma) * x0 + sigma * noise


def denoised(
    x: Float[Tensor, "b *n"], velocity: Float[Tensor, "b *n"], sigma: Float[Tensor, "b *l"]
) -> Float[Tensor, "b *n"]:
    """The latents at the path's end, x - sigma velocity."""
    return x - spread(sigma, x) * velocity


def num_tokens(num_frames: int, height: int, width: int, kernel: int = 1) -> int:
    """Tokens of latents cut into patches of (k, 2k, 2k), borders padded; height, width: of the latents.

    Source: FramePack (arXiv 2504.12626), the official code's counting.
    """
    return -(-num_frames // kernel) * -(-height // (2 * kernel)) * -(-width // (2 * kernel))


def latent_tokens(x: Float[Tensor, "b l c i j"]) -> int:
    """Tokens of each sample's latents, cut into patches of (1, 2, 2)."""
    num_frames, _, height, width = x.shape[1:]
    return num_tokens(num_frames, height, width)
