"""Videos as continuous latents, by an autoencoder that never looks ahead."""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.gaussian import DiagonalGaussian
from components.latent_tokenizers import Decoding, Encoding, LatentReconstruction
from components.latent_tokenizers.causal_coder import CausalDecoder, CausalEncoder, Halving, Sizes
from components.latent_tokenizers.causal_layers import Past
from components.latent_tokenizers.channel_statistics import ChannelStatistics
from components.latent_tokenizers.parts import check_part, in_parts
from components.latent_tokenizers.posterior import divergence, posterior_of, sample
from components.randomness import ClipRandom

FIRST_LOG_VARIANCE = -6.0  # of the untrained posterior: at variance 1 the first hundred steps learn little
STATISTICS_DECAY = 0.99


class CausalVAE(nn.Module):
    """A variational autoencoder with frames' convolutions in space and causal ones in time.

    channels: of a latent.
    patch: frames, and pixels of a side, that enter as one.
    widths: channels of each level, full size first.
    halvings: what halves from a level to the next, time or space or both.
    blocks: residual blocks a level, one more in the decoder.
    kl_weight: of the posterior's divergence from the standard normal, in nats a latent pixel.
    frames_at_once: frames that encode and decode hold in memory at a time, about; None = all.
    Latents are normalised by running moments of the posterior's means, followed in `reconstruct`.
    Raises ValueError for levels that do not fit together.
    """

    causal: ClassVar[bool] = True

    def __init__(
        self,
        *,
        channels: int,
        patch: Sequence[int],
        widths: Sequence[int],
        halvings: Sequence[Halving],
        blocks: int,
        kl_weight: float = 1e-6,
        frames_at_once: int | None = None,
    ) -> None:
        super().__init__()
        if len(patch) != 2 or min(patch) < 1:
            raise ValueError(f"a patch is [frames, pixels], both at least 1, not {list(patch)}")
        if len(halvings) != len(widths) - 1:
            raise ValueError(f"{len(widths)} widths need {len(widths) - 1} halvings, not {len(halvings)}")
        if blocks < 1:
            raise ValueError("a level without a block sees no time; give blocks of at least 1")
        sizes = Sizes((patch[0], patch[1]), tuple(widths), tuple(halvings), blocks)
        self.sizes, self.channels, self.kl_weight = sizes, channels, kl_weight
        self.time_factor, self.space_factor = sizes.time_factor, sizes.space_factor
        self.frames_at_once = frames_at_once
        self.encoder = CausalEncoder(sizes=sizes, out_channels=2 * channels)
        self.decoder = CausalDecoder(sizes=sizes, in_channels=channels)
        self.statistics = ChannelStatistics(channels=channels, decay=STATISTICS_DECAY)
        nn.init.constant_(cast(Tensor, self.encoder.output.conv.bias)[channels:], FIRST_LOG_VARIANCE)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.decoder.output.conv.weight)

    def settings(self) -> dict[str, str | int | float | bool]:
        return {
            "tokenizer": "causal_vae",
            "latents": "posterior mean",
            "normalisation": "running mean and standard deviation of each channel",
            "patch": "x".join(map(str, self.sizes.patch)),
            "halvings": ", ".join(self.sizes.halvings),
        }

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        time, space = self.time_factor, self.space_factor
        fits = num_frames % time == 1 % time and height % space == width % space == 0
        if not fits or min(num_frames, height, width) < 1:
            told = f"{num_frames} frames of {height}x{width}"
            needs = f"1 + k * {time} frames, both sides multiples of {space}"
            raise ValueError(f"CausalVAE cannot code {told}; it takes {needs}")
        return 1 + (num_frames - 1) // time, height // space, width // space

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
        self.grid(video.shape[1], *video.shape[-2:])
        encode_part = self.encoding()
        return torch.cat([encode_part(part) for part in in_parts(video, self._at_once())], dim=1)

    def decode(self, latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
        step = self._at_once()
        decode_part = self.decoding()
        parts = in_parts(latents, step and step // self.time_factor)
        return torch.cat([decode_part(part) for part in parts], dim=1)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> LatentReconstruction:
        self.grid(video.shape[1], *video.shape[-2:])
        posterior = self._posterior(video, None)
        if self.training:
            self.statistics.update(posterior.mean)
        return LatentReconstruction(
            video=self._frames(sample(posterior, random), None),
            latents=self.statistics.normalised(posterior.mean).movedim(-1, 2),
            loss=self.kl_weight * divergence(posterior),
        )

    def encoding(self) -> Encoding:
        past: Past = {}

        @torch.no_grad()
        def encode_part(video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
            check_part(video.shape[1], self.time_factor, begins=not past)
            latents = self.statistics.normalised(self._posterior(video, past).mean)
            return latents.movedim(-1, 2).contiguous()

        return encode_part

    def decoding(self) -> Decoding:
        past: Past = {}

        def decode_part(latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
            return self._frames(self.statistics.restored(latents.movedim(2, -1)), past).clamp(0.0, 1.0)

        return decode_part

    def _posterior(self, video: Float[Tensor, "b t 3 h w"], past: Past | None) -> DiagonalGaussian:
        moments = self.encoder(2.0 * video.movedim(2, -1) - 1.0, past)
        return posterior_of(moments.to(self.last_layer.dtype))  # full precision under autocast

    def _frames(self, z: Float[Tensor, "b l i j c"], past: Past | None) -> Float[Tensor, "b t 3 h w"]:
        frames = self.decoder(z, past).to(self.last_layer.dtype)
        return ((frames + 1.0) / 2.0).movedim(-1, 2)

    def _at_once(self) -> int | None:
        """frames_at_once in whole latent frames."""
        if self.frames_at_once is None:
            return None
        return max(self.frames_at_once // self.time_factor, 1) * self.time_factor
