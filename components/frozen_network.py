"""Networks and tokenizers that transformers loads, kept apart from what is trained and saved."""

import hashlib
import json
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn


class FrozenNetwork(nn.Module):
    """A network of transformers, read at its first use and run wherever this module is.

    loader: class of transformers that reads it.  path: folder or hub id.  folder: within path, "" for path
    itself.  width: hidden size that its configuration must name.
    The weights are shared by all copies of this module and stand in no state dict, so that checkpoints,
    averages of weights and sharding pass them by; a model can be built, or its cost be told, without them.
    Raises ValueError where they are needed and cannot be read.
    """

    place: Tensor

    def __init__(
        self,
        *,
        loader: str,
        path: str,
        folder: str,
        width: int,
        precision: Literal["float32", "bfloat16", "float16"],
    ) -> None:
        super().__init__()
        self.loader, self.path, self.folder = loader, path, folder
        self.width, self.precision = width, precision
        self.register_buffer("place", torch.empty(0), persistent=False)  # goes where the model goes

    @torch.no_grad()
    def forward(self, inputs: dict[str, Any]) -> Any:
        """What the network gives, whatever precision the trainer runs in: autocast does not reach it."""
        device = self.place.device
        with torch.autocast(device.type, enabled=False), torch.inference_mode(False):
            return self.network.to(device)(**inputs, return_dict=True)

    @property
    def network(self) -> nn.Module:
        network = _network(self.loader, self.path, self.folder, self.precision)
        config: Any = network.config
        if config.hidden_size != self.width:
            where = f"{self.path}/{self.folder}".rstrip("/")
            raise ValueError(f"{where}: its features have width {config.hidden_size}, not {self.width}")
        return network

    def digest(self) -> str:
        """Tells weights apart, by names, shapes and the first numbers of each tensor."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(str(weight.detach().flatten()[:16].double().tolist()).encode())
        return digest.hexdigest()[:16]


@cache
def tokenizer(path: str, folder: str) -> Any:
    """The tokenizer in a folder of path. Raises ValueError where it cannot be read."""
    return _read("AutoTokenizer", path, folder, {})


@cache
def vocabulary_digest(path: str, folder: str) -> str:
    """Tells tokenizers apart."""
    words = json.dumps(tokenizer(path, folder).get_vocab(), sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


@cache
@torch.inference_mode(False)  # first read in a validation, used in training too
def _network(loader: str, path: str, folder: str, precision: str) -> nn.Module:
    return _read(loader, path, folder, {"dtype": getattr(torch, precision)}).eval().requires_grad_(False)


def _read(loader: str, path: str, folder: str, settings: dict[str, Any]) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError("a pretrained encoder needs transformers; pip install transformers") from error
    try:
        return getattr(transformers, loader).from_pretrained(path, subfolder=folder, **settings)
    except Exception as error:  # which errors it may raise differs between its versions
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        where = f"{path}/{folder}".rstrip("/")
        raise ValueError(f"{where}: transformers' {loader} cannot read it: {reason}") from error
