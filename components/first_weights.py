"""First weights in the manner of DCGAN, which SVG shares between its networks."""

from torch import nn


def normal_initialise(module: nn.Module) -> None:
    """Fill in place: weights normal of std 0.02, gains of norms the same around 1, biases 0.

    Of linear layers, convolutions and norms; LSTM cells keep torch's own. Source: init_weights of the
    official SVG code.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, std=0.02)
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(part.weight, mean=1.0, std=0.02)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)
