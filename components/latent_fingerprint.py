"""What latents, codes and text features were made with, so that others are never taken for them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from components.image_encoders import ImageEncoder
from components.latent_dynamics import LatentDynamics
from components.latent_tokenizers import LatentTokenizer
from components.text_encoders import TextEncoder
from components.tokenizers import VideoTokenizer

Part = VideoTokenizer | LatentTokenizer | LatentDynamics | TextEncoder | ImageEncoder
Fingerprint = dict[str, Any]  # name -> plain value


def made_by(parts: Mapping[str, Part | None]) -> Fingerprint:
    """Class, settings and weights of all parts; an encoder that trains with the model makes nothing ahead."""
    described: Fingerprint = {}
    for name, part in parts.items():
        described |= _described(name, part if getattr(part, "frozen", True) else None)
    return described


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What is not the same, a line each: `tokenizer weights (3fa21c there, 99be02 here)`."""
    names = [*there, *(name for name in here if name not in there)]
    return [
        f"{name} ({_shown(there, name)} there, {_shown(here, name)} here)"
        for name in names
        if name not in there or name not in here or there[name] != here[name]
    ]


def weights_hash(module: nn.Module) -> str:
    """A hash of all weights and buffers: names, types, shapes and every bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _described(name: str, part: Part | None) -> Fingerprint:
    if part is None:
        return {name: None}
    told: Fingerprint = {name: f"{type(part).__module__}.{type(part).__qualname__}"}
    if isinstance(part, nn.Module):
        told[f"{name} weights"] = weights_hash(part)
    settings = part.settings() if hasattr(part, "settings") else {}
    return told | {f"{name}.{key}": value for key, value in settings.items()}


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "not"
