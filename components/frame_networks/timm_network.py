"""A network of timm, up to its pooled features."""

from typing import cast

import timm
from jaxtyping import Float
from torch import Tensor, nn


class TimmNetwork(nn.Module):
    """name: of a model of timm. in_channels: 3 for each picture. pretrained: begin at timm's own weights.

    Raises ValueError for a name that timm does not know.
    Source: VideoWorld (arXiv 2501.09781), supplement A, has ResNet-18 with global average pooling.
    """

    def __init__(self, *, in_channels: int, name: str = "resnet18", pretrained: bool = False) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(f"timm has no model {name}; timm.list_models() tells what there is")
        self.network = timm.create_model(name, pretrained=pretrained, in_chans=in_channels, num_classes=0)
        self.dim = cast(int, self.network.num_features)

    def forward(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        return self.network(2.0 * pictures - 1.0)
