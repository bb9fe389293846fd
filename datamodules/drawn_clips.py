"""The data set of a source that makes its clips instead of reading them."""

from typing import Any, Protocol

from torch.utils.data import Dataset

from datamodules import Split


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
