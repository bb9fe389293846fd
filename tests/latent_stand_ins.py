"""The smallest things that keep the contracts of latent tokenizers and text encoders."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from components.latent_tokenizers import Decoding, Encoding, LatentReconstruction
from components.randomness import ClipRandom
from components.text_encoders import TextFeatures


class PatchTokenizer(nn.Module):
    """Latents are a linear map of the mean of 4 frames' 4x4 pixels."""

    channels, time_factor, space_factor, causal = 4, 4, 4, True

    def __init__(self, *, seed: int = 0, gain: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.gain = gain

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        if (num_frames - 1) % 4 or height % 4 or width % 4:
            raise ValueError(f"PatchTokenizer cannot encode {num_frames} frames of {height}x{width}")
        return 1 + (num_frames - 1) // 4, height // 4, width // 4

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        self.grid(video.shape[1], *video.shape[-2:])
        video = torch.cat([video[:, :1].expand(-1, 3, -1, -1, -1), video], dim=1)
        means = video.unflatten(1, (-1, 4)).unflatten(-2, (-1, 4)).unflatten(-1, (-1, 4)).mean(dim=(2, 5, 7))
        return self.gain * torch.einsum("dc,blcij->bldij", self.weight, means)

    def decode(self, latents: Tensor) -> Tensor:
        frames = latents[:, :, :3].repeat_interleave(4, 1)[:, 3:]
        return frames.repeat_interleave(4, -1).repeat_interleave(4, -2).clamp(0, 1)

    def reconstruct(self, video: Tensor, random: ClipRandom) -> LatentReconstruction:
        latents = self.encode(video)
        return LatentReconstruction(self.decode(latents), latents, torch.zeros(()))

    def encoding(self) -> Encoding:
        raise ValueError("encodes whole clips")

    def decoding(self) -> Decoding:
        return self.decode

    @property
    def last_layer(self) -> nn.Parameter:
        return self.weight

    def settings(self) -> dict[str, str | int | float | bool]:
        return {"gain": self.gain}


class LetterEncoder(nn.Module):
    """Features of a text are a table's rows of its letters."""

    dim, pooled_dim, length = 6, 2, 40

    def __init__(self, *, frozen: bool = True, seed: int = 0) -> None:
        super().__init__()
        self.frozen, self.calls = frozen, 0
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(256, self.dim, generator=generator))

    @torch.no_grad()
    def forward(self, texts: list[str]) -> TextFeatures:
        self.calls += 1
        ids = [[0, *text.encode()][: self.length] for text in texts]
        longest = max(map(len, ids))
        tokens, mask = (
            torch.zeros(len(ids), longest, self.dim),
            torch.zeros(len(ids), longest, dtype=torch.bool),
        )
        for row, letters in enumerate(ids):
            tokens[row, : len(letters)], mask[row, : len(letters)] = self.table[letters], True
        return TextFeatures(tokens, mask, tokens.sum(dim=1)[:, : self.pooled_dim])

    def settings(self) -> dict[str, str | int | float | bool]:
        return {"length": self.length}


def model(tokenizer: nn.Module, text_encoder: nn.Module | None = None) -> SimpleNamespace:
    """What a recipe shows of itself to a cache."""
    return SimpleNamespace(tokenizer=tokenizer, text_encoder=text_encoder)
