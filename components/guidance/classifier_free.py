"""Classifier-free guidance."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.flow_path import denoised, spread


class ClassifierFree:
    """v_u + scale (v_c - v_u), with the contrast of the estimated latents drawn back by `rescale`.

    scale: 1 is the conditional velocity alone.
    rescale: in [0, 1]; 1 gives the guided estimate of each sample the standard deviation of the conditional
        one, 0 leaves it.
    Raises ValueError for a rescale outside its range.
    Source: arXiv 2207.12598, eq. (6); arXiv 2305.08891, section 3.4, on the estimate as in FramePack.
    """

    def __init__(self, *, scale: float = 1.0, rescale: float = 0.0) -> None:
        if not 0 <= rescale <= 1:
            raise ValueError(f"guidance needs rescale in [0, 1]; it is {rescale:g}")
        self.scale, self.rescale = scale, rescale
        self.needs_unconditional = scale != 1.0

    def __call__(
        self,
        conditional: Float[Tensor, "b *n"],
        unconditional: Float[Tensor, "b *n"] | None,
        x: Float[Tensor, "b *n"],
        sigma: Float[Tensor, " b"],
    ) -> Float[Tensor, "b *n"]:
        if not self.needs_unconditional:
            return conditional
        if unconditional is None:
            raise ValueError(f"guidance of scale {self.scale:g} needs an unconditional velocity")
        guided = torch.lerp(unconditional, conditional, self.scale)
        if self.rescale == 0:
            return guided
        estimate = denoised(x, guided, sigma)
        wanted, made = _deviation(denoised(x, conditional, sigma)), _deviation(estimate)
        factor = 1 + self.rescale * (wanted / made - 1)
        return (x - spread(factor, x) * estimate) / spread(sigma, x)


def _deviation(x: Float[Tensor, "b *n"]) -> Float[Tensor, " b"]:
    return x.flatten(1).std(dim=1)
