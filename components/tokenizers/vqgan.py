"""Frames as grids of codes, one by one."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.quantizers import Quantizer
from components.quantizers.codes_of import codes_of
from components.randomness import ClipRandom
from components.tokenizers import Reconstruction
from components.tokenizers.image_coder import ImageDecoder, ImageEncoder


class VQGAN(nn.Module):
    """A convolutional autoencoder of images with a quantiser at its waist; frames do not see each other.

    patch: pixels of a side that enter as one, 1 in the papers: with 4, a small model trains in half the time.
    channels, multipliers: widths of the levels, full size first; every level but the first halves the size.
    blocks: residual blocks a level, one more in the decoder.
    latent_channels: width at the waist, before a 1x1 convolution to the quantiser's dim.
    attention_levels: levels (0 = full size) with self-attention after every block.
    frames_at_once: frames that encode and decode hold in memory at a time; None = all.
    Raises ValueError for widths that norm_groups does not divide and for levels that there are not.
    Source: Esser et al. 2021 (VQGAN); LWM's is its form without any attention, lwm/vqgan.py.
    """

    def __init__(
        self,
        *,
        quantizer: Quantizer,
        patch: int = 1,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 4, 6),
        blocks: int = 2,
        latent_channels: int = 64,
        norm_groups: int = 32,
        attention_levels: Sequence[int] = (),
        middle_attention: bool = False,
        frames_at_once: int | None = None,
    ) -> None:
        super().__init__()
        unknown = [level for level in attention_levels if level not in range(len(multipliers))]
        if unknown:
            raise ValueError(f"attention at level {unknown[0]}, but the last level is {len(multipliers) - 1}")
        widths = [channels * multiplier for multiplier in multipliers]
        self.codebook_size = quantizer.codebook_size
        self.factor = patch * 2 ** (len(widths) - 1)
        self.frames_at_once = frames_at_once
        self.encoder = ImageEncoder(
            widths=widths,
            blocks=blocks,
            latent_channels=latent_channels,
            norm_groups=norm_groups,
            attention_levels=attention_levels,
            middle_attention=middle_attention,
            patch=patch,
        )
        self.quant_conv = nn.Conv2d(latent_channels, quantizer.dim, 1)
        self.quantizer = quantizer
        self.post_quant_conv = nn.Conv2d(quantizer.dim, latent_channels, 1)
        self.decoder = ImageDecoder(
            widths=widths,
            blocks=blocks + 1,
            latent_channels=latent_channels,
            norm_groups=norm_groups,
            attention_levels=attention_levels,
            middle_attention=middle_attention,
            patch=patch,
        )

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.decoder.output.weight)

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        if height % self.factor or width % self.factor or min(num_frames, height, width) < 1:
            told = f"{num_frames} frames of {height}x{width}"
            raise ValueError(f"VQGAN cannot tokenize {told}; both sides must be multiples of {self.factor}")
        return num_frames, height // self.factor, width // self.factor

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b t i j"]:
        self.grid(video.shape[1], *video.shape[-2:])
        codes = [
            codes_of(self.quantizer, self.latents(frames)) for frames in self.chunks(video.flatten(0, 1))
        ]
        return torch.cat(codes).unflatten(0, video.shape[:2])

    def decode(self, codes: Int[Tensor, "b t i j"]) -> Float[Tensor, "b t 3 h w"]:
        frames = [self.frames(self.quantizer.lookup(part)) for part in self.chunks(codes.flatten(0, 1))]
        return torch.cat(frames).clamp(0.0, 1.0).unflatten(0, codes.shape[:2])

    def reconstruct(
        self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom | None = None
    ) -> Reconstruction:
        self.grid(video.shape[1], *video.shape[-2:])
        quantized = self.quantizer(self.latents(video.flatten(0, 1)))
        return Reconstruction(
            video=self.frames(quantized.latents).unflatten(0, video.shape[:2]),
            codes=quantized.indices.unflatten(0, video.shape[:2]),
            loss=quantized.loss,
        )

    def latents(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n i j dim"]:
        """Features to be quantised, of frames in [0, 1]."""
        frames = (2.0 * frames - 1.0).contiguous(memory_format=torch.channels_last)  # faster on CPU
        return self.quant_conv(self.encoder(frames)).movedim(1, -1)

    def frames(self, latents: Float[Tensor, "n i j dim"]) -> Float[Tensor, "n 3 h w"]:
        """Frames in [0, 1], not clamped, of quantised features; in the weights' precision under autocast."""
        frames = self.decoder(self.post_quant_conv(latents.movedim(-1, 1)))
        return (frames.to(self.last_layer.dtype) + 1.0) / 2.0

    def chunks(self, frames: Tensor) -> tuple[Tensor, ...]:
        return frames.split(self.frames_at_once or max(len(frames), 1))
