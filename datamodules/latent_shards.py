"""One file of cached clips: latents, whatever else their clips hold but video, and features of their texts.

A shard is a safetensors file. Its tensors are named KEY.FIELD and TEXT.tokens, TEXT.mask, TEXT.pooled, where
KEY names a clip and TEXT is a hash of a text, which many clips may share. Its metadata list the clips.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.clip import Clip
from components.text_encoders import TextFeatures
from datamodules import SourceError, Split
from datamodules.batches import OneClip

_OPEN = 64  # shards that one process keeps open
_ABOUT = "about"
FEATURES = ("latents", "image_tokens", "dynamics_features")  # in whatever precision they are stored


@dataclass(frozen=True)
class Entry:
    """What the index says of a clip.

    grid: (l, i, j) of its latents, or (f, v, n) of its codes. sha256: of all that is stored of it.
    text: hash of its text, None where no features are stored; text_length: n of these.
    """

    key: str
    split: Split
    shard: str
    id: str
    grid: tuple[int, int, int]
    sha256: str
    text: str | None
    text_length: int


def pack(split: Split, clips: Mapping[str, OneClip], texts: Mapping[str, TextFeatures]) -> bytes:
    """The content of a shard: clips by key, and features (a batch of one) of their texts.

    Trailing rows of tokens that are zero and masked are left out.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for text, features in texts.items():
        tokens, mask, pooled = (part[0] for part in features)
        kept = (mask | (tokens != 0).any(dim=-1)).nonzero()
        tokens = tokens[: int(kept[-1]) + 1 if len(kept) else 0]
        parts = {"tokens": tokens, "mask": mask, "pooled": pooled}
        tensors |= {f"{text_key(text)}.{part}": value for part, value in parts.items()}
    records = []
    for key, clip in clips.items():
        parts = _flat(clip)
        mine = {name: value for name, value in parts.items() if isinstance(value, Tensor)}
        words = {name: value for name, value in parts.items() if not isinstance(value, Tensor)}
        text = text_key(clip.get("text", "")) if clip.get("text", "") in texts else None
        of_text = {name: tensors[name] for name in tensors if text and name.startswith(f"{text}.")}
        record = {"key": key, "id": clip["id"], "grid": _grid(clip), "text": text}
        record["sha256"] = _content_hash(mine | of_text, words)
        record["text_length"] = len(tensors[f"{text}.mask"]) if text else 0
        records.append(record | {"words": words, "tensors": list(mine)})
        tensors |= {f"{key}.{name}": value for name, value in mine.items()}
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    about = json.dumps({"split": split, "clips": records})  # in one: the order of several would be random
    return save(whole, metadata={_ABOUT: about})


def entries_of(path: Path) -> list[Entry]:
    """The clips of a shard. Raises: SourceError where the file is damaged."""
    about = _about(_open(path))
    told = [field.name for field in fields(Entry) if field.name not in ("split", "shard", "grid")]
    return [
        Entry(
            split=about["split"],
            shard=path.stem,
            grid=tuple(record["grid"]),
            **{name: record[name] for name in told},
        )
        for record in about["clips"]
    ]


class ShardReader:
    """Clips out of shards; each process opens its own files, the last ones stay open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: OrderedDict[str, tuple[Any, dict[str, Any]]] = OrderedDict()
        self._process = os.getpid()

    def clip(self, entry: Entry) -> OneClip:
        """All that is stored of a clip; what encoders made is float32."""
        file, records = self._file(entry.shard)
        record = records[entry.key]
        tensors = {name: file.get_tensor(f"{entry.key}.{name}") for name in record["tensors"]}
        made = {name: tensors[name].float() for name in FEATURES if name in tensors}
        return _nested(tensors | made | record["words"])

    def text(self, shard: str, text: str, length: int) -> Clip:
        """Features of a text by its hash, filled up to a length, or their own, with zeros that are masked."""
        file, _ = self._file(shard)
        stored, mask, pooled = (file.get_tensor(f"{text}.{part}") for part in ("tokens", "mask", "pooled"))
        length = max(length, len(mask))
        tokens, shown = torch.zeros(length, stored.shape[1]), torch.zeros(length, dtype=torch.bool)
        tokens[: len(stored)], shown[: len(mask)] = stored, mask
        return Clip(text_tokens=tokens, text_mask=shown, text_pooled=pooled.float())

    def _file(self, shard: str) -> tuple[Any, dict[str, Any]]:
        if self._process != os.getpid():  # a forked worker
            self._files.clear()
            self._process = os.getpid()
        if shard not in self._files:
            while len(self._files) >= _OPEN:
                self._files.popitem(last=False)
            file = _open(self.folder / f"{shard}.safetensors")
            self._files[shard] = file, {record["key"]: record for record in _about(file)["clips"]}
        self._files.move_to_end(shard)
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}


def _grid(clip: OneClip) -> list[int]:
    """Sizes of a clip's latents, or of its codes; batches are made of clips of one."""
    if "latents" not in clip:
        return list(clip["codes"].shape)
    length, _, *sides = clip["latents"].shape
    return [length, *sides]


def text_key(text: str) -> str:
    """What a text is called in a shard."""
    return f"text-{hashlib.sha256(text.encode('utf-8', errors='replace')).hexdigest()[:32]}"


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        told = "is missing" if not path.exists() else "is damaged; remove it"
        raise SourceError(f"{path}: {told} and run the stage that caches latents again") from error


def _about(file: Any) -> dict[str, Any]:
    return json.loads(file.metadata()[_ABOUT])


def _flat(clip: OneClip) -> dict[str, Any]:
    """`camera: {poses: ...}` as `camera.poses`."""
    parts: dict[str, Any] = {}
    for name, value in clip.items():
        parts |= (
            {f"{name}.{part}": one for part, one in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return parts


def _nested(parts: Mapping[str, Any]) -> OneClip:
    clip: OneClip = {}
    for name, value in parts.items():
        group, _, part = name.partition(".")
        if part:
            clip.setdefault(group, {})[part] = value
        else:
            clip[name] = value
    return clip


def _content_hash(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
