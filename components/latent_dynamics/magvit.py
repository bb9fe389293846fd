"""Latent dynamics exactly as the released code of VideoWorld computes them, for its weights."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.latent_dynamics import Dynamics
from components.latent_dynamics.magvit_layers import (
    AdaptiveNorm,
    CausalConv3d,
    FourierPositions,
    FrameNorm,
    QueryFormer,
    Upsample,
    residual_blocks,
)
from components.quantizers import Quantizer
from components.quantizers.codes_of import codes_of
from components.randomness import ClipRandom
from components.tokenizers.layers import group_norm

PAST = 3  # grey frames before the first
FRAME_GROUPS = 4  # of the encoder's norms


class MagvitDynamics(nn.Module):
    """One code for each of the next H frames, code h of frames 0 to h; convolutions over space and time.

    channels, multipliers: widths of the levels, full size first; every level but the first halves the size.
    blocks: residual blocks a level, and as many again at the smallest size.
    query_layers, heads: of what reads the frames for each code. norm_groups: of the decoder.
    Codes see no later frame, but the decoder's norms go over all frames: an imagined frame depends on the
    codes of those after it. The encoder's norms are tied to H.
    Raises ValueError for widths that norm_groups does not divide, and for a quantizer of another dim.
    Source: VideoWorld (arXiv 2501.09781), released code: MagvitV2LAencoder, QFormerMFSep and
    MagvitV2LAAdadecoder. Followed to the letter: the last query is doubled, three grey frames come before the
    first, and norms that the code has but never runs are not here.
    """

    def __init__(
        self,
        *,
        horizon: int,
        quantizer: Quantizer,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 4),
        blocks: int = 4,
        query_layers: int = 2,
        heads: int = 4,
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        if quantizer.dim != widths[-1]:
            told = f"quantizer.dim is {quantizer.dim}"
            raise ValueError(f"{told}; codes are made of features of width {widths[-1]}")
        self.horizon = self.num_codes = horizon
        self.codebook_size, self.dim = quantizer.codebook_size, quantizer.dim
        self.factor = 2 ** (len(widths) - 1)
        self.encoder = VideoEncoder(widths=widths, blocks=blocks, frames=PAST + 1 + horizon)
        self.positions = FourierPositions(dim=self.dim)
        self.queries = nn.Parameter(torch.randn(horizon, self.dim))
        self.formers = nn.ModuleList(
            QueryFormer(dim=self.dim, layers=query_layers, heads=heads) for _ in range(horizon)
        )
        self.quantizer = quantizer
        self.decoder = VideoDecoder(widths=widths, blocks=blocks, norm_groups=norm_groups)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.decoder.output.conv.weight)

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b n"]:
        return codes_of(self.quantizer, self.features(video))

    def features(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b n d"]:
        return self._read(self._encoded(self._clip(video)))

    def lookup(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        return self.quantizer.lookup(codes)

    def decode(
        self, frame: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b k 3 h w"]:
        first = self._encoded(frame[:, None])
        return self._frames(first, self.quantizer.lookup(codes))[:, 1:].clamp(0.0, 1.0)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom | None = None) -> Dynamics:
        encoded = self._encoded(self._clip(video))
        quantized = self.quantizer(self._read(encoded))
        made = self._frames(encoded[:, :, : PAST + 1], quantized.latents)
        return Dynamics(video=made, codes=quantized.indices, loss=quantized.loss)

    def autoencode(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom | None = None) -> Dynamics:
        encoded = self._encoded(self._clip(video))
        with torch.no_grad():
            codes = codes_of(self.quantizer, self._read(encoded))
        made = _pixels(self.decoder(encoded))
        return Dynamics(video=made, codes=codes, loss=made.new_zeros(()))

    def _clip(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b f 3 h w"]:
        """Frames 0 to H, the last one repeated where there are fewer."""
        clip = video[:, : 1 + self.horizon]
        missing = 1 + self.horizon - clip.shape[1]
        return torch.cat([clip, clip[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)

    def _encoded(self, clip: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b d l i j"]:
        """Features of frames in [0, 1], those of the grey frames before them first."""
        height, width = clip.shape[-2:]
        if height % self.factor or width % self.factor:
            told = f"frames of {height}x{width}"
            raise ValueError(
                f"MagvitDynamics cannot see {told}; both sides must be multiples of {self.factor}"
            )
        frames = (2.0 * clip - 1.0).transpose(1, 2)
        grey = frames.new_zeros(*frames.shape[:2], PAST, height, width)
        return self.encoder(torch.cat([grey, frames], dim=2))

    def _read(self, encoded: Float[Tensor, "b d l i j"]) -> Float[Tensor, "b n d"]:
        """What query h finds in frames 0 to h."""
        frames = encoded[:, :, PAST:].flatten(3).movedim(1, 3)  # b f pixels d
        positions = self.positions(*encoded.shape[-2:])
        found = []
        for h, former in enumerate(self.formers, start=1):
            query = self.queries[h - 1].expand(len(frames), 1, -1)
            found.append(former(query, frames[:, : h + 1].flatten(1, 2), positions.repeat(h + 1, 1)))
        return torch.cat(found, dim=1)

    def _frames(
        self, first: Float[Tensor, "b d l i j"], latents: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b f 3 h w"]:
        """Frames 0 to H from the first as it is and, spread over every pixel, the codes of those after it."""
        spread = latents.transpose(1, 2)[..., None, None].expand(-1, -1, -1, *first.shape[-2:])
        return _pixels(self.decoder(torch.cat([first, spread.to(first.dtype)], dim=2)))


class VideoEncoder(nn.Module):
    """Levels of residual blocks, each but the last halved in size, and more blocks at the smallest size."""

    def __init__(self, *, widths: Sequence[int], blocks: int, frames: int) -> None:
        super().__init__()
        norm = partial(_frame_norm, frames)
        self.input = CausalConv3d(in_channels=3, out_channels=widths[0], kernel=7)
        self.levels = nn.ModuleList(
            residual_blocks(before, width, blocks, norm) for before, width in pairwise([widths[0], *widths])
        )
        self.resizes = nn.ModuleList(
            CausalConv3d(in_channels=width, out_channels=width, kernel=3, stride=2) for width in widths[:-1]
        )
        self.middle = residual_blocks(widths[-1], widths[-1], blocks, norm)

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b d t i j"]:
        x = self.levels[0](self.input(video))
        for resize, level in zip(self.resizes, self.levels[1:], strict=True):
            x = level(resize(x))
        return self.middle(x)


class VideoDecoder(nn.Module):
    """The encoder's mirror image; before every level a norm that is told the mean of what is decoded.

    `levels` holds them smallest size first.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int, norm_groups: int) -> None:
        super().__init__()
        norm = partial(group_norm, groups=norm_groups)
        steps = list(pairwise([widths[-1], *reversed(widths)]))
        self.middle = residual_blocks(widths[-1], widths[-1], blocks, norm)
        self.norms = nn.ModuleList(
            AdaptiveNorm(channels=before, condition_dim=widths[-1], groups=norm_groups) for before, _ in steps
        )
        self.levels = nn.ModuleList(residual_blocks(before, width, blocks, norm) for before, width in steps)
        self.resizes = nn.ModuleList(Upsample(channels=width) for width in reversed(widths[1:]))
        self.output = CausalConv3d(in_channels=widths[0], out_channels=3, kernel=1)

    def forward(self, encoded: Float[Tensor, "b d t i j"]) -> Float[Tensor, "b 3 t h w"]:
        mean = encoded.mean(dim=(2, 3, 4))
        x = self.middle(encoded)
        for norm, level, resize in zip(self.norms, self.levels, [*self.resizes, nn.Identity()], strict=True):
            x = resize(level(norm(x, mean)))
        return self.output(x)


def _frame_norm(frames: int, channels: int) -> FrameNorm:
    return FrameNorm(frames=frames, channels=channels, groups=FRAME_GROUPS)


def _pixels(decoded: Float[Tensor, "b 3 l h w"]) -> Float[Tensor, "b f 3 h w"]:
    """In [0, 1], without the grey frames."""
    return (decoded[:, :, PAST:].transpose(1, 2) + 1.0) / 2.0
