"""All weights train."""

from torch import Tensor, nn


class Full:
    """Train every weight of the denoiser."""

    def prepare(self, denoiser: nn.Module) -> None:
        denoiser.requires_grad_(True)

    def merged(self, denoiser: nn.Module) -> dict[str, Tensor]:
        return denoiser.state_dict()
