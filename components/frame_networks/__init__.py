"""Frame networks: pictures to one vector each, for heads that decide something.

| name | what it is | weights |
|---|---|---|
| convolutions | a few strided convolutions; keeps where things are | 0.3 M at 48x48, trained with its head |
| timm | any network of timm by its name, ResNet-18 at first | trained, or timm's own |

Pictures of several moments or cameras go in side by side, as more channels.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class FrameNetwork(Protocol):
    """dim: of the vectors."""

    dim: int

    def __call__(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """One vector a picture; pictures are in [0, 1].

        Raises ValueError for pictures of another shape than it was built for.
        """
