"""Where in the picture a pixel lies."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

OCTAVES = 6  # half waves across the picture: 1, 2, 4, ... 32


class Places(nn.Module):
    """A learned code of each pixel's place, for pictures of any size.

    A linear map of sines and cosines of the row's and the column's share of the picture, at octaves, each
    with half of the energy of the one before: neighbours begin alike, and regions are told apart first.
    """

    amplitudes: Tensor

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * OCTAVES, dim)
        nn.init.normal_(self.linear.weight, std=(2 * OCTAVES) ** -0.5)  # codes of variance 1
        nn.init.zeros_(self.linear.bias)
        energy = 0.5 ** torch.arange(OCTAVES)
        self.register_buffer("amplitudes", (OCTAVES * energy / energy.sum()).sqrt(), persistent=False)

    def forward(self, height: int, width: int) -> Float[Tensor, "h w c"]:
        rows = self._waves(height)[:, None].expand(-1, width, -1)
        columns = self._waves(width)[None].expand(height, -1, -1)
        return self.linear(torch.cat([rows, columns], dim=-1))

    def _waves(self, size: int) -> Float[Tensor, "n waves"]:
        weight = self.linear.weight
        middles = (torch.arange(size, device=weight.device) + 0.5) / size
        angles = torch.pi * middles[:, None] * 2.0 ** torch.arange(OCTAVES, device=weight.device)
        waves = torch.stack([angles.sin(), angles.cos()], dim=1) * self.amplitudes
        return waves.flatten(1).to(weight.dtype)
