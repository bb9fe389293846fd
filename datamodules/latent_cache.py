"""Clips as latents that were made before."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from components.clip import ClipSpec
from components.latent_fingerprint import Fingerprint, differences, made_by
from components.text_encoders import TextFeatures
from datamodules import ClipSource, SourceError, Split
from datamodules.batches import OneClip
from datamodules.clip_order import Bucket
from datamodules.held_out import spread
from datamodules.latent_folder import FORMAT, NO_TEXT, CacheFolder, plain, source_settings
from datamodules.latent_plan import chosen_clips, clip_key
from datamodules.latent_shards import Entry, ShardReader, text_key

PARTS = ("tokenizer", "dynamics", "text encoder", "image encoder")  # as fingerprints call them


class LatentCache:
    """A ClipSource of what callbacks.latent_writer stored of another source's clips.

    Training clips hold latents and all but the video; held-out clips the video too, so that predictions are
    compared with true frames. Where a frozen text encoder ran, they hold text_tokens, text_mask and
    text_pooled, all of one length. Clips that the source no longer has are passed over.

    root: the folder. source: what the clips were made from.
    Raises: SourceError where the cache is not finished, was made from clips of other settings, or lacks
    clips that the source has now.
    """

    def __init__(self, *, root: str, source: ClipSource) -> None:
        self.root, self.source = root, source
        self.folder = CacheFolder(root)

    def spec(self) -> ClipSpec:
        """That of the source: sizes of videos, not of latents."""
        return self.source.spec()

    def split(self, name: Split) -> Dataset:
        """The cached clips of one split, map-style."""
        self._check_source()
        clips: Any = self.source.split(name)
        count = self.folder.chosen[name]
        if name == "train":
            return self._cached(name, list(chosen_clips(clips, name, count)))
        indices = spread(len(clips), len(clips) if count is None else count)
        keys = [clip_key(clips, name, index) for index in indices]
        return HeldOutClips(clips, indices, self._cached(name, keys))

    def check_made_by(self, model: nn.Module) -> None:
        """Raise SourceError unless the model's own parts made what is here of theirs.

        Of a part that made nothing here, or that the model lacks, there is nothing to say.
        """
        there = self.folder.made_with
        used = {part: getattr(model, part.replace(" ", "_"), None) for part in PARTS if there.get(part)}
        used = {part: its for part, its in used.items() if its is not None}
        self.folder.refuse(differences(_of(there, *used), plain(made_by(used))))

    def no_text(self) -> TextFeatures | None:
        """Features of the empty text, a batch of one; None where texts are not cached."""
        if not (self.folder.shards / f"{NO_TEXT}.safetensors").is_file():
            return None
        clip = self._reader.text(NO_TEXT, text_key(""), self._text_length)
        return TextFeatures(*(clip[f"text_{part}"][None] for part in TextFeatures._fields))  # type: ignore

    def _check_source(self) -> None:
        here = plain({"format": FORMAT} | source_settings(self.source))
        self.folder.refuse(differences(_of(self.folder.made_with, "format", "source"), here))

    def _cached(self, split: Split, keys: Sequence[str]) -> "CachedClips":
        missing = sum(key not in self._index for key in keys)
        if missing:
            raise SourceError(
                f"{self.folder.root}: lacks {missing} of {len(keys)} {split} clips, new or changed ones; "
                "run the stage that caches latents again"
            )
        return CachedClips([self._index[key] for key in keys], self._reader, self._text_length)

    @cached_property
    def _index(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self.folder.manifest()}

    @cached_property
    def _text_length(self) -> int:
        """Of the features of every text of the cache, once they are filled up."""
        lengths = [entry.text_length for entry in self._index.values()]
        if (self.folder.shards / f"{NO_TEXT}.safetensors").is_file():
            lengths.append(len(self._reader.text(NO_TEXT, text_key(""), 0)["text_mask"]))
        return max(lengths, default=0)

    @cached_property
    def _reader(self) -> ShardReader:
        return ShardReader(self.folder.shards)


class CachedClips(Dataset):
    """Clips without video. Batches are made of latents of one size: see bucket_of."""

    def __init__(self, entries: Sequence[Entry], reader: ShardReader, text_length: int) -> None:
        self.entries, self.reader, self.text_length = list(entries), reader, text_length

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> OneClip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        entry = self.entries[index]
        clip = self.reader.clip(entry)
        if entry.text is not None:
            clip |= self.reader.text(entry.shard, entry.text, self.text_length)
        return clip

    def bucket_of(self, index: int) -> Bucket:
        """Frames, height and width of a clip's latents."""
        return self.entries[index].grid

    def name_of(self, index: int) -> str:
        """The clip's id."""
        return self.entries[index].id


class HeldOutClips(Dataset):
    """Clips of another data set, with their latents and features."""

    def __init__(self, clips: Any, indices: Sequence[int], cached: CachedClips) -> None:
        self.clips, self.indices, self.cached = clips, list(indices), cached

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> OneClip:
        return self.cached[index] | self.clips[self.indices[index]]

    def bucket_of(self, index: int) -> Bucket:
        return self.cached.bucket_of(index)

    def name_of(self, index: int) -> str:
        return self.cached.name_of(index)


def _of(fingerprint: Fingerprint, *parts: str) -> Fingerprint:
    """What a fingerprint says of these parts."""
    return {name: value for name, value in fingerprint.items() if name.startswith(parts)}
