"""TeaCache: skip the blocks while their input changes little."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.feature_caches import Blocks

FRAMEPACK = (733.226126, -401.131952, 67.5869174, -3.149878, 0.0961237896)  # highest power first


class TeaCache:
    """The blocks' last change is added again while a guess at their new one, summed up, is below threshold.

    The guess is the size of a polynomial of the relative L1 change of the modulated input of the first block.
    coefficients: of the polynomial, highest power first; the default was fitted on HunyuanVideo for
    FramePack, [1, 0] is the change itself. First and last step are always computed. It costs accuracy.
    Source: TeaCache (arXiv 2411.19108), as in FramePack's released code, with its threshold.
    """

    def __init__(self, *, threshold: float = 0.15, coefficients: tuple[float, ...] = FRAMEPACK) -> None:
        if threshold < 0 or not coefficients:
            raise ValueError(f"threshold is {threshold:g}; give 0 (all computed) or more, and coefficients")
        self.threshold, self.coefficients = threshold, tuple(coefficients)

    def start(self, num_steps: int) -> "TeaSteps":
        return TeaSteps(self.threshold, self.coefficients, num_steps)


class TeaSteps:
    """One sampling. computed: of its steps so far, whether each was computed."""

    def __init__(self, threshold: float, coefficients: tuple[float, ...], num_steps: int) -> None:
        self.threshold, self.coefficients, self.num_steps = threshold, coefficients, num_steps
        self.computed: list[bool] = []
        self._sum = 0.0
        self._signal: Tensor | None = None
        self._change: Tensor | None = None

    @torch.no_grad()
    def __call__(
        self, signal: Float[Tensor, "b n d"], tokens: Float[Tensor, "b m d"], blocks: Blocks
    ) -> Float[Tensor, "b m d"]:
        last = len(self.computed) + 1 >= self.num_steps
        if self._signal is not None:
            moved = (signal - self._signal).abs().mean() / self._signal.abs().mean()
            self._sum += self._guess(float(moved))
        self._signal = signal
        skip = self._change is not None and not last and self._sum < self.threshold
        self.computed.append(not skip)
        if skip:
            assert self._change is not None
            return tokens + self._change
        self._sum = 0.0
        after = blocks()
        self._change = after - tokens
        return after

    def _guess(self, moved: float) -> float:
        value = 0.0
        for coefficient in self.coefficients:
            value = value * moved + coefficient
        return abs(value)
