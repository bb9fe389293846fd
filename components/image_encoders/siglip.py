"""Features of SigLIP's image tower, frozen."""

from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.frozen_network import FrozenNetwork


class SiglipEncoder(nn.Module):
    """SigLIP's last features, a token a patch, from a folder or a hub id; read when an image is first met.

    path: with the network in `folder`; "" for path itself.  dim: width of the features.
    Images are brought to the network's square, whatever their shape, by antialiased bicubic interpolation.
    Raises ValueError, at the first image, for what transformers cannot read.
    Source: image conditioning of FramePack (arXiv 2504.12626), as in its code.
    """

    frozen = True

    def __init__(
        self,
        *,
        path: str,
        dim: int = 1152,
        precision: Literal["float32", "bfloat16", "float16"] = "bfloat16",
        folder: str = "image_encoder",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.tower = FrozenNetwork(
            loader="SiglipVisionModel", path=path, folder=folder, width=dim, precision=precision
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b m e"]:
        network: Any = self.tower.network
        side = network.config.image_size
        resized = F.interpolate(images.float(), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        tokens = self.tower({"pixel_values": (2 * resized - 1).to(network.dtype)}).last_hidden_state
        return tokens.to(self.tower.place)

    def settings(self) -> dict[str, str | int | float | bool]:
        return {"tower": self.tower.digest(), "precision": self.tower.precision}
