"""Finetunings decide which weights of a pretrained denoiser train.

| name | trains | for |
|---|---|---|
| full | every weight | enough data and memory, or no pretrained weights |
| lora | additions of low rank to Linear layers; layers new against the base | one GPU, little data |
"""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Finetuning(Protocol):
    """Make a denoiser ready for training, and give away what came of it."""

    def prepare(self, denoiser: nn.Module) -> None:
        """Freeze what does not train and add what is new; before weights are loaded, sharded or optimised.

        Raises ValueError, in one line, where that is impossible.
        """

    def merged(self, denoiser: nn.Module) -> dict[str, Tensor]:
        """Weights that do the same in a denoiser that was never prepared, by its names."""
