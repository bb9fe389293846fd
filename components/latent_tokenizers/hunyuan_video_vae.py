"""The video autoencoder of HunyuanVideo and FramePack, with diffusers' weights."""

from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.gaussian import DiagonalGaussian
from components.latent_tokenizers import Decoding, Encoding, LatentReconstruction
from components.latent_tokenizers.diffusers_weights import autoencoder, check_sizes, decoded, encoded
from components.latent_tokenizers.posterior import divergence, sample
from components.randomness import ClipRandom


class HunyuanVideoVAE(nn.Module):
    """Not causal: its norms see all frames, and clips over 16 frames are coded in pieces that overlap.

    So the latents of a cut clip are not a cut of the latents, and a clip cannot be encoded in parts. A part
    of the latents is decoded with the `overlap` latent frames before it, whose frames are made again and
    dropped: near the whole decode, not equal to it. Official FramePack fades over the frames of a section
    instead; frames that were shown cannot fade.

    path: folder or hub id; subfolder: where it lies there, `vae` in a whole pipeline.
    config: sizes instead of a path, for random weights; keys as of diffusers.AutoencoderKLHunyuanVideo.
    tiling: code pictures over 256 pixels in tiles that overlap: less memory, other latents.
    overlap: latent frames.
    kl_weight: of the posterior's divergence in `reconstruct`, in nats a latent pixel.
    Latents times the published scaling factor. Raises ValueError where it cannot be made.
    Source: arXiv 2412.03603, section 4.1.
    """

    causal: ClassVar[bool] = False

    def __init__(
        self,
        *,
        path: str | None = None,
        subfolder: str | None = None,
        config: dict[str, Any] | None = None,
        tiling: bool = False,
        overlap: int = 4,
        kl_weight: float = 1e-6,
    ) -> None:
        super().__init__()
        if overlap < 1:
            raise ValueError(f"overlap is {overlap} latent frames; give 1 or more")
        self.vae = autoencoder("AutoencoderKLHunyuanVideo", path=path, subfolder=subfolder, config=config)
        if tiling:
            self.vae.enable_tiling()
        sizes = self.vae.config
        self.channels, self.scale = sizes.latent_channels, sizes.scaling_factor
        self.time_factor = sizes.temporal_compression_ratio
        self.space_factor = sizes.spatial_compression_ratio
        self.overlap, self.kl_weight = overlap, kl_weight

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.vae.decoder.conv_out.conv.weight)

    def settings(self) -> dict[str, str | int | float | bool]:
        vae = self.vae
        frames = vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames
        tiles = f"{vae.tile_sample_min_height}x{vae.tile_sample_min_width}"
        strides = f"{vae.tile_sample_stride_height}x{vae.tile_sample_stride_width}"
        return {
            "tokenizer": "hunyuan_video",
            "latents": "posterior mean",
            "normalisation": f"z * {self.scale:g}",
            "frames at once": f"{frames[0]}, every {frames[1]}" if vae.use_framewise_encoding else "all",
            "tiling": f"{tiles}, every {strides}" if vae.use_tiling else "none",
        }

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        time, space = self.time_factor, self.space_factor
        check_sizes("HunyuanVideo", num_frames, height, width, time=time, space=space)
        return 1 + (num_frames - 1) // time, height // space, width // space

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
        raise ValueError(
            "HunyuanVideo's autoencoder sees a clip whole, not in parts: encode the clip at once"
        )

    def decoding(self) -> Decoding:
        before: list[Tensor] = []  # nothing, or the last `overlap` latent frames

        def decode_part(latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
            joined = torch.cat([*before, latents], dim=1)
            new = latents.shape[1] * self.time_factor
            frames = self.decode(joined)
            begins = not before
            before[:] = [joined[:, -self.overlap :]]
            return frames if begins else frames[:, -new:]

        return decode_part

    def _posterior(self, video: Float[Tensor, "b t 3 h w"]) -> DiagonalGaussian:
        self.grid(video.shape[1], *video.shape[-2:])
        return encoded(self.vae, video)

    def _latents(self, posterior: DiagonalGaussian) -> Float[Tensor, "b l c i j"]:
        return (posterior.mean * self.scale).movedim(-1, 2).contiguous()
