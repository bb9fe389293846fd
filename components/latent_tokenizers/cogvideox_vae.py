"""The video autoencoder of CogVideoX, with diffusers' weights."""

from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.gaussian import DiagonalGaussian
from components.latent_tokenizers import Decoding, Encoding, LatentReconstruction
from components.latent_tokenizers.diffusers_weights import (
    autoencoder,
    check_sizes,
    decoded,
    encoded,
    from_diffusers,
    posterior_of_moments,
    to_diffusers,
)
from components.latent_tokenizers.parts import check_part
from components.latent_tokenizers.posterior import divergence, sample
from components.randomness import ClipRandom

PART = 8  # frames that the published model codes at a time, the first time one more
LATENT_PART = 2

Caches = dict[str, Any]  # of diffusers' convolutions; empty where the video begins


class CogVideoXVAE(nn.Module):
    """Coded 8 frames at a time, 9 at first, which see each other and those before: not causal frame by frame.

    Clips have 1 + 8 k frames, or one; the decoder makes no sense of an even number of latent frames. Parts
    that keep to these eights (latents: 3 at first, then 2 k at a time) equal the whole exactly. The latent of
    a single image is not the first latent of a clip that begins with it.

    path: folder or hub id; subfolder: where it lies there, `vae` in a whole pipeline.
    config: sizes instead of a path, for random weights; keys as of diffusers.AutoencoderKLCogVideoX.
    tiling: code large pictures in tiles that overlap: less memory, other latents, no parts.
    kl_weight: of the posterior's divergence in `reconstruct`, in nats a latent pixel.
    Latents times the published scaling factor. Raises ValueError where it cannot be made.
    Source: arXiv 2408.06072, section 2.1.
    """

    causal: ClassVar[bool] = False

    def __init__(
        self,
        *,
        path: str | None = None,
        subfolder: str | None = None,
        config: dict[str, Any] | None = None,
        tiling: bool = False,
        kl_weight: float = 1e-6,
    ) -> None:
        super().__init__()
        self.vae = autoencoder("AutoencoderKLCogVideoX", path=path, subfolder=subfolder, config=config)
        if tiling:
            self.vae.enable_tiling()
        sizes = self.vae.config
        self.channels, self.scale = sizes.latent_channels, sizes.scaling_factor
        self.time_factor = int(sizes.temporal_compression_ratio)
        self.space_factor = 2 ** (len(sizes.block_out_channels) - 1)
        self.kl_weight = kl_weight
        if self.time_factor * LATENT_PART != PART:
            raise ValueError(
                f"diffusers codes CogVideoX's videos 4 frames to a latent, not {self.time_factor}"
            )

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.vae.decoder.conv_out.conv.weight)

    def settings(self) -> dict[str, str | int | float | bool]:
        vae = self.vae
        tiles = f"{vae.tile_sample_min_height}x{vae.tile_sample_min_width}"
        overlaps = f"{vae.tile_overlap_factor_height:g}x{vae.tile_overlap_factor_width:g}"
        return {
            "tokenizer": "cogvideox",
            "latents": "posterior mean",
            "normalisation": f"z * {self.scale:g}",
            "tiling": f"{tiles}, overlapping by {overlaps}" if vae.use_tiling else "none",
        }

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        space = self.space_factor
        check_sizes("CogVideoX", num_frames, height, width, time=PART, space=space)
        return 1 + (num_frames - 1) // self.time_factor, height // space, width // space

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
        return self._latents(self._posterior(video))

    def decode(self, latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
        return decoded(self.vae, latents.movedim(2, -1) / self.scale).clamp(0.0, 1.0)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> LatentReconstruction:
        posterior = self._posterior(video)
        return LatentReconstruction(
            video=decoded(self.vae, sample(posterior, random)),
            latents=self._latents(posterior),
            loss=self.kl_weight * divergence(posterior),
        )

    def encoding(self) -> Encoding:
        self._check_untiled()
        caches: Caches = {}

        @torch.no_grad()
        def encode_part(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
            check_part(video.shape[1], PART, begins=not caches)
            moments = self._through(self.vae.encoder, to_diffusers(video), PART, caches)
            if self.vae.quant_conv is not None:
                moments = self.vae.quant_conv(moments)
            return self._latents(posterior_of_moments(moments))

        return encode_part

    def decoding(self) -> Decoding:
        self._check_untiled()
        caches: Caches = {}

        def decode_part(latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
            check_part(latents.shape[1], LATENT_PART, begins=not caches)
            z = latents.movedim(2, 1) / self.scale
            if self.vae.post_quant_conv is not None:
                z = self.vae.post_quant_conv(z)
            return from_diffusers(self._through(self.vae.decoder, z, LATENT_PART, caches)).clamp(0.0, 1.0)

        return decode_part

    def _through(self, coder: nn.Module, x: Tensor, step: int, caches: Caches) -> Float[Tensor, "b c t h w"]:
        """As diffusers cuts a whole clip: what is left over belongs to the first piece."""
        first = step + x.shape[2] % step
        pieces = [x] if x.shape[2] <= first else [x[:, :, :first], *x[:, :, first:].split(step, dim=2)]
        coded = []
        for piece in pieces:
            made, kept = coder(piece, conv_cache=caches or None)
            caches.update(kept)
            coded.append(made)
        return torch.cat(coded, dim=2)

    def _posterior(self, video: Float[Tensor, "b t 3 h w"]) -> DiagonalGaussian:
        self.grid(video.shape[1], *video.shape[-2:])
        return encoded(self.vae, video)

    def _latents(self, posterior: DiagonalGaussian) -> Float[Tensor, "b l c i j"]:
        return (posterior.mean * self.scale).movedim(-1, 2).contiguous()

    def _check_untiled(self) -> None:
        if self.vae.use_tiling:
            raise ValueError("CogVideoX codes tiles of whole clips, not of parts: set tiling=false")
