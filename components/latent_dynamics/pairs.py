"""Latent dynamics of pairs of frames: one model and one code for each distance."""

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.latent_dynamics import Dynamics, LatentDynamics
from components.latent_dynamics.frames_ahead import frames_ahead
from components.randomness import ClipRandom


class Pairs(nn.Module):
    """Code h is of frames 0 and offsets[h] alone, by a model of its own.

    dynamics: what all models begin as; it looks one frame ahead.
    offsets: distances in frames, growing: [1, 3, 5] are Black's next moves where White's lie between.
    A frame between two offsets is decoded as the one before it, and none is trained on.
    Raises ValueError for offsets that do not grow, and a model that looks further than one frame.
    Source: VideoWorld (arXiv 2501.09781), released configuration for Go: pairs of frames 2 h - 1 moves apart.
    """

    def __init__(self, *, dynamics: LatentDynamics, offsets: Sequence[int]) -> None:
        super().__init__()
        if not offsets or list(offsets) != sorted(set(offsets)) or offsets[0] < 1:
            raise ValueError(f"offsets of pairs grow from at least 1, got {list(offsets)}")
        if dynamics.horizon != 1:
            raise ValueError(f"the model of a pair looks 1 frame ahead: its horizon is {dynamics.horizon}")
        self.offsets, self.horizon, self.num_codes = tuple(offsets), offsets[-1], len(offsets)
        self.codebook_size, self.dim = dynamics.codebook_size, dynamics.dim
        self.factor = getattr(dynamics, "factor", 1)
        models = [cast(nn.Module, dynamics), *(deepcopy(cast(nn.Module, dynamics)) for _ in offsets[1:])]
        self.models = nn.ModuleList(models)

    @property
    def last_layer(self) -> nn.Parameter:
        return self._each()[0].last_layer

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b n"]:
        found = [model.encode(pair) for model, pair in self._pairs(video)]
        return torch.cat(found, dim=1)

    def features(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b n d"]:
        found = [model.features(pair) for model, pair in self._pairs(video)]
        return torch.cat(found, dim=1)

    def lookup(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        columns = codes.split(1, dim=1)
        found = [model.lookup(code) for model, code in zip(self._each(), columns, strict=True)]
        return torch.cat(found, dim=1)

    def decode(
        self, frame: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b k 3 h w"]:
        columns = codes.split(1, dim=1)
        made = [model.decode(frame, code) for model, code in zip(self._each(), columns, strict=True)]
        known = dict(zip(self.offsets, made, strict=True))
        frames = [frame[:, None]]
        for h in range(1, self.horizon + 1):
            frames.append(known.get(h, frames[-1]))
        return torch.cat(frames[1:], dim=1)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        return self._joined(video, [model.reconstruct(pair, random) for model, pair in self._pairs(video)])

    def autoencode(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        return self._joined(video, [model.autoencode(pair, random) for model, pair in self._pairs(video)])

    def _each(self) -> list[LatentDynamics]:
        return [cast(LatentDynamics, model) for model in self.models]

    def _pairs(
        self, video: Float[Tensor, "b t 3 h w"]
    ) -> list[tuple[LatentDynamics, Float[Tensor, "b 2 3 h w"]]]:
        clip = frames_ahead(video, self.horizon)
        return [(model, clip[:, [0, h]]) for model, h in zip(self._each(), self.offsets, strict=True)]

    def _joined(self, video: Float[Tensor, "b t 3 h w"], made: list[Dynamics]) -> Dynamics:
        """Frame 0 as all models give it back on average, and true frames where no model makes one."""
        frames = list(frames_ahead(video, self.horizon).unbind(dim=1))
        frames[0] = torch.stack([each.video[:, 0] for each in made]).mean(dim=0)
        for h, each in zip(self.offsets, made, strict=True):
            frames[h] = each.video[:, 1]
        codes = torch.cat([each.codes for each in made], dim=1)
        loss = torch.stack([each.loss for each in made]).sum()
        return Dynamics(video=torch.stack(frames, dim=1), codes=codes, loss=loss)
