"""The data set of a source that makes its clips instead of reading them."""

from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from components.randomness import mix
from datamodules import Split

HELD_OUT_CLIPS = 1_000  # in val, and as many in test
_SPLITS: dict[Split, int] = {"train": 0, "val": 1, "test": 2}
_ASKED = 3  # clips that are asked for one by one, of no split


def numbers_of(split: Split, seed: int, index: int) -> np.random.Generator:
    """All randomness of one clip."""
    return _generator(seed, _SPLITS[split], index)


def numbers_asked(seed: int, *keys: int) -> np.random.Generator:
    """All randomness of a clip that lies in no split."""
    return _generator(seed, _ASKED, *keys)


def _generator(*keys: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=mix(*keys)))


class Draws(Protocol):
    """A source whose clips are pure functions of (split, index)."""

    def clip(self, split: Split, index: int) -> dict[str, Any]: ...


class DrawnClips(Dataset):
    """One split of such a source, clip by clip; raises IndexError outside of its size."""

    def __init__(self, source: Draws, split: Split, size: int) -> None:
        self.source, self.split, self.size = source, split, size

    def __len__(self) -> int:
        return self.size

    def key_of(self, index: int) -> str:
        """What a clip of this source and split is a function of."""
        return str(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.size:
            raise IndexError(f"clip {index} of {self.size}")
        return self.source.clip(self.split, index)
