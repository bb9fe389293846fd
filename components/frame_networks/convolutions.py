"""Strided convolutions, and a linear layer over all places: small, and it knows where things are."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class Convolutions(nn.Module):
    """Every level halves the size: convolution 3x3 with stride 2, group norm, ReLU; then linear, layer norm.

    in_channels: 3 for each picture that goes in. height, width: pixels. widths: channels of the levels.
    Raises ValueError for sizes that the levels do not divide, and widths that norm_groups does not.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        height: int,
        width: int,
        dim: int = 256,
        widths: Sequence[int] = (32, 64, 64, 64),
        norm_groups: int = 8,
    ) -> None:
        super().__init__()
        factor = 2 ** len(widths)
        if height % factor or width % factor or any(channels % norm_groups for channels in widths):
            told = f"{len(widths)} levels of {list(widths)} channels in {norm_groups} groups"
            raise ValueError(f"{told} do not fit pictures of {height}x{width}: sides divide by {factor}")
        self.dim, self.shape = dim, (in_channels, height, width)
        layers: list[nn.Module] = []
        for before, after in zip([in_channels, *widths], widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(norm_groups, after)]
            layers += [nn.ReLU()]
        places = height // factor * (width // factor)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(widths[-1] * places, dim), nn.LayerNorm(dim)
        )

    def forward(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        if pictures.shape[1:] != self.shape:
            told = f"pictures are {tuple(pictures.shape[1:])}, the network takes {self.shape}"
            raise ValueError(f"{told} (channels, height, width)")
        return self.layers(2.0 * pictures - 1.0)
