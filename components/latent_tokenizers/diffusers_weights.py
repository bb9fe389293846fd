"""Video autoencoders of diffusers: built from sizes, or with the weights of a folder or hub id."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from components.gaussian import DiagonalGaussian
from components.latent_tokenizers.posterior import posterior_of

CONFIG = "config.json"


def autoencoder(
    name: str, *, path: str | None, subfolder: str | None, config: Mapping[str, Any] | None
) -> Any:
    """The module of this name, from path or config, whichever is given.

    While only sizes are counted, on the meta device or with fake tensors, no weights are read, and those of a
    hub id are taken to be the class's own, which are the published ones.
    Raises ValueError where diffusers is missing or cannot make it, and for both or neither of the two.
    """
    if (path is None) == (config is None):
        raise ValueError(f"{name} needs either path (a folder or hub id) or config (sizes, random weights)")
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(f"{name} needs diffusers; pip install diffusers") from error
    made: Any = getattr(diffusers, name)
    try:
        if path is None:
            return made(**(config or {}))
        if not _only_counted():
            return made.from_pretrained(path, subfolder=subfolder)
        folder = Path(path, subfolder or "")
        return made.from_config(made.load_config(folder)) if (folder / CONFIG).is_file() else made()
    except Exception as error:  # which errors it may raise differs between its versions
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        where = path if path is not None else "config"
        raise ValueError(f"{where}: diffusers makes no {name} of it: {reason}") from error


def to_diffusers(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b 3 t h w"]:
    """As its autoencoders take it: in [-1, 1], channels before time."""
    return (2.0 * video.movedim(2, 1) - 1.0).contiguous()  # diffusers views it


def from_diffusers(video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b t 3 h w"]:
    return (video.movedim(1, 2) + 1.0) / 2.0


def encoded(vae: Any, video: Float[Tensor, "b t 3 h w"]) -> DiagonalGaussian:
    """A whole clip by the autoencoder's own encode. Channels last."""
    return posterior_of_moments(vae.encode(to_diffusers(video)).latent_dist.parameters)


def decoded(vae: Any, z: Float[Tensor, "b l i j c"]) -> Float[Tensor, "b t 3 h w"]:
    """A whole clip by the autoencoder's own decode; not clamped."""
    return from_diffusers(vae.decode(z.movedim(-1, 1)).sample)


def check_sizes(name: str, frames: int, height: int, width: int, *, time: int, space: int) -> None:
    """Raises ValueError for clips of other than 1 + k * time frames, with sides in multiples of space."""
    fits = frames % time == 1 and height % space == width % space == 0
    if not fits or min(height, width) < 1:
        needs = f"1 + k * {time} frames with sides in multiples of {space}"
        raise ValueError(f"{name} codes {needs}, not {frames} frames of {height}x{width}")


def posterior_of_moments(moments: Float[Tensor, "b moments l i j"]) -> DiagonalGaussian:
    """Channels last."""
    return posterior_of(moments.movedim(1, -1))


def _only_counted() -> bool:
    probe = torch.empty(0)
    return probe.is_meta or isinstance(probe, FakeTensor)
