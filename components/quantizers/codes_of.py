"""Codes without learning."""

from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from components.quantizers import Quantizer


def codes_of(quantizer: Quantizer, latents: Float[Tensor, "*n d"]) -> Int[Tensor, "*n"]:
    """Codes, from which the quantiser learns nothing, in training mode neither.

    What is frozen inside a model that trains is in training mode too.
    """
    module = cast(nn.Module, quantizer)
    learning = module.training
    module.eval()
    try:
        return quantizer(latents).indices
    finally:
        module.train(learning)
