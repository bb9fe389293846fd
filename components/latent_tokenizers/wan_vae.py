"""The video autoencoder of Wan, with diffusers' weights."""

from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.gaussian import DiagonalGaussian
from components.latent_tokenizers import Decoding, Encoding, LatentReconstruction
from components.latent_tokenizers.diffusers_weights import (
    autoencoder,
    check_sizes,
    from_diffusers,
    posterior_of_moments,
    to_diffusers,
)
from components.latent_tokenizers.parts import check_part
from components.latent_tokenizers.posterior import divergence, sample
from components.randomness import ClipRandom

PART = 4  # frames that the published model codes at a time, after the first alone

Features = list[Any]  # what each convolution keeps of the frames before, in diffusers' format


class WanVAE(nn.Module):
    """Strictly causal, streamed by its own feature cache; latents (z - mean) / std by the published moments.

    path: folder or hub id; subfolder: where it lies there, `vae` in a whole pipeline.
    config: sizes instead of a path, for random weights; keys as of diffusers.AutoencoderKLWan.
    kl_weight: of the posterior's divergence in `reconstruct`, in nats a latent pixel.
    Takes the sizes of Wan 2.1 and 2.2. Raises ValueError where it cannot be made.
    Source: arXiv 2503.20314, section 4.1.
    """

    causal: ClassVar[bool] = True
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(
        self,
        *,
        path: str | None = None,
        subfolder: str | None = None,
        config: dict[str, Any] | None = None,
        kl_weight: float = 3e-6,
    ) -> None:
        super().__init__()
        self.vae = autoencoder("AutoencoderKLWan", path=path, subfolder=subfolder, config=config)
        sizes = self.vae.config
        self.channels, self.kl_weight, self.patch = sizes.z_dim, kl_weight, sizes.patch_size
        self.time_factor = 2 ** sum(sizes.temperal_downsample)
        self.space_factor = 2 ** (len(sizes.dim_mult) - 1) * (sizes.patch_size or 1)
        if self.time_factor != PART:
            raise ValueError(f"diffusers codes Wan's videos {PART} frames at a time, not {self.time_factor}")
        if not len(sizes.latents_mean) == len(sizes.latents_std) == self.channels:
            raise ValueError(f"latents_mean and latents_std need {self.channels} numbers, one a channel")
        self.register_buffer("latents_mean", torch.tensor(sizes.latents_mean), persistent=False)
        self.register_buffer("latents_std", torch.tensor(sizes.latents_std), persistent=False)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.vae.decoder.conv_out.weight)

    def settings(self) -> dict[str, str | int | float | bool]:
        return {
            "tokenizer": "wan",
            "latents": "posterior mean",
            "normalisation": "(z - mean) / std",
            "mean": ", ".join(f"{value:g}" for value in self.vae.config.latents_mean),
            "std": ", ".join(f"{value:g}" for value in self.vae.config.latents_std),
        }

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        space = self.space_factor
        check_sizes("Wan", num_frames, height, width, time=PART, space=space)
        return 1 + (num_frames - 1) // PART, height // space, width // space

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
        self.grid(video.shape[1], *video.shape[-2:])
        return self.encoding()(video)

    def decode(self, latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
        return self.decoding()(latents)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> LatentReconstruction:
        self.grid(video.shape[1], *video.shape[-2:])
        posterior = self._posterior(video, [])
        return LatentReconstruction(
            video=self._frames(sample(posterior, random), []),
            latents=self._normalised(posterior.mean),
            loss=self.kl_weight * divergence(posterior),
        )

    def encoding(self) -> Encoding:
        features: Features = []

        @torch.no_grad()
        def encode_part(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
            check_part(video.shape[1], PART, begins=not features)
            return self._normalised(self._posterior(video, features).mean)

        return encode_part

    def decoding(self) -> Decoding:
        features: Features = []

        def decode_part(latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
            z = latents.movedim(2, -1) * self.latents_std + self.latents_mean
            return self._frames(z, features).clamp(0.0, 1.0)

        return decode_part

    def _posterior(self, video: Float[Tensor, "b t 3 h w"], features: Features) -> DiagonalGaussian:
        """Part by part, as the feature cache wants it; `features` is empty where the video begins."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

        x = to_diffusers(video)
        if self.patch is not None:
            x = patchify(x, patch_size=self.patch)
        lengths = [PART] * (x.shape[2] // PART)
        if not features:
            features.extend([None] * len(list(self.vae.encoder.modules())))
            lengths = [1, *lengths]
        parts = x.split(lengths, dim=2)
        coded = [self.vae.encoder(part, feat_cache=features, feat_idx=[0]) for part in parts]
        return posterior_of_moments(self.vae.quant_conv(torch.cat(coded, dim=2)))

    def _frames(self, z: Float[Tensor, "b l i j c"], features: Features) -> Float[Tensor, "b t 3 h w"]:
        """Not clamped, so that gradients pass; diffusers' own decode clamps."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        begins = not features
        if begins:
            features.extend([None] * len(list(self.vae.decoder.modules())))
        x = self.vae.post_quant_conv(z.movedim(-1, 1))
        parts = []
        for i, part in enumerate(x.split(1, dim=2)):
            first = begins and i == 0
            parts.append(self.vae.decoder(part, feat_cache=features, feat_idx=[0], first_chunk=first))
        video = torch.cat(parts, dim=2)
        return from_diffusers(video if self.patch is None else unpatchify(video, patch_size=self.patch))

    def _normalised(self, mean: Float[Tensor, "b l i j c"]) -> Float[Tensor, "b l c i j"]:
        return ((mean - self.latents_mean) / self.latents_std).movedim(-1, 2).contiguous()
