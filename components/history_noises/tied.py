"""Noise on the history that falls with the section's own."""

from jaxtyping import Float
from torch import Tensor

from components.flow_path import noised
from components.history_noises import Draw, Seen
from components.memories import Context
from components.randomness import ClipRandom


class Tied:
    """Known latents at a share of the section's noise level: (1 - share sigma) z + share sigma noise.

    train: the share in training; None: drawn evenly from 0 to 1, clip by clip. test: the share in sampling.
    All segments are noised, the start and the zeros of frames that do not exist as well.
    Source: SkyReels-V2 (arXiv 2504.13074) as FramePack compares with it: train None; test 0, .1, .5.
    """

    def __init__(self, *, train: float | None = None, test: float = 0.1) -> None:
        if not (0 <= test <= 1 and (train is None or 0 <= train <= 1)):
            raise ValueError(f"train is {train}, test {test:g}; give shares from 0 to 1")
        self.train, self.test = train, test

    def trained(self, context: Context, sigma: Float[Tensor, " b"], random: ClipRandom) -> Context:
        share = random.uniform() if self.train is None else self.train
        noise = [random.normal(*segment.latents.shape[1:]) for segment in context.segments]
        return _noised(context, share * sigma, noise)

    def sampling(self, context: Context, draw: Draw) -> Seen:
        if not self.test:
            return lambda sigma: context
        noise = [draw(*segment.latents.shape) for segment in context.segments]
        return lambda sigma: _noised(context, self.test * sigma, noise)


def _noised(context: Context, level: Float[Tensor, " b"], noise: list[Tensor]) -> Context:
    changed = [
        segment._replace(latents=noised(segment.latents, level.to(segment.latents), e))
        for segment, e in zip(context.segments, noise, strict=True)
    ]
    return Context(changed, context.indices)
