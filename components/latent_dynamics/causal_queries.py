"""Latent dynamics by queries over a causal video encoder: one code for each of the next frames."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.latent_dynamics import Dynamics
from components.latent_dynamics.frames_ahead import frames_ahead
from components.latent_dynamics.horizon_queries import HorizonQueries
from components.latent_dynamics.places import Places
from components.latent_tokenizers.causal_coder import CausalDecoder, CausalEncoder, Halving, Sizes
from components.latent_tokenizers.channel_statistics import ChannelStatistics
from components.quantizers import Quantizer
from components.quantizers.codes_of import codes_of
from components.randomness import ClipRandom

STATISTICS_DECAY = 0.95
FRAMES = 0.5  # share of clips whose frames are decoded from their own features while autoencoding


class CausalQueries(nn.Module):
    """Codes of the next H frames, code h of frames 0 to h; frame h is decoded from frame 0 and codes 1 to h.

    horizon: H. quantizer: of one code's features.
    patch: pixels of a side that enter as one.
    widths: channels of each level, full size first; every level but the first halves the size.
    blocks: residual blocks a level, one more in the decoder; each reaches two frames back.
    channels: of the features. num_heads, depth: of the queries' attention, and how often they look.
    No layer mixes frames but those that look back, so neither codes nor frames depend on what comes later.
    Raises ValueError for widths that do not fit together, and channels that num_heads does not divide.
    Source: VideoWorld (arXiv 2501.09781), section 3.2. Other than there, the decoder sees in place of code h
    frame 0's features and the sum of what codes 1 to h mean at each place, so that it begins where copying
    is; and what the queries find is normalised by running moments, so that all of the codebook is in reach
    whatever they drift to. Without these, codes fell into one another before they meant anything.
    """

    def __init__(
        self,
        *,
        horizon: int,
        quantizer: Quantizer,
        patch: int = 4,
        widths: Sequence[int] = (48,),
        blocks: int = 1,
        channels: int = 48,
        num_heads: int = 4,
        depth: int = 2,
    ) -> None:
        super().__init__()
        if horizon < 1 or channels % num_heads:
            told = f"horizon is {horizon}, channels {channels}, num_heads {num_heads}"
            raise ValueError(f"{told}; look at least 1 frame ahead, and give every head as many channels")
        halvings: list[Halving] = ["space"] * (len(widths) - 1)
        sizes = Sizes((1, patch), tuple(widths), tuple(halvings), blocks)
        self.horizon = self.num_codes = horizon
        self.codebook_size, self.dim = quantizer.codebook_size, quantizer.dim
        self.factor = sizes.space_factor
        self.encoder = CausalEncoder(sizes=sizes, out_channels=channels)
        self.queries = HorizonQueries(
            horizon=horizon, dim=channels, num_heads=num_heads, depth=depth, out_dim=quantizer.dim
        )
        self.statistics = ChannelStatistics(channels=horizon * quantizer.dim, decay=STATISTICS_DECAY)
        self.quantizer = quantizer
        self.changes = Changes(code_dim=quantizer.dim, channels=channels)
        self.decoder = CausalDecoder(sizes=sizes, in_channels=channels)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.decoder.output.conv.weight)

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Int[Tensor, "b n"]:
        return codes_of(self.quantizer, self.features(video))

    def features(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b n d"]:
        return self._normalised(self.queries(self._encoded(frames_ahead(video, self.horizon))))

    def lookup(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        return self.quantizer.lookup(codes)

    def decode(
        self, frame: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b k 3 h w"]:
        slots = self._slots(self._encoded(frame[:, None]), self.quantizer.lookup(codes))
        return self._frames(slots)[:, 1:].clamp(0.0, 1.0)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        encoded = self._encoded(frames_ahead(video, self.horizon))
        quantized = self.quantizer(self._followed(self.queries(encoded)))
        made = self._frames(self._slots(encoded[:, :1], quantized.latents))
        return Dynamics(video=made, codes=quantized.indices, loss=quantized.loss)

    def autoencode(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> Dynamics:
        """Frames of half of the clips from their own features, of the others from features of codes."""
        encoded = self._encoded(frames_ahead(video, self.horizon))
        features = self._followed(self.queries(encoded))
        by_frame = random.uniform(1, 1, 1, 1) < FRAMES
        made = self._frames(torch.where(by_frame, encoded, self._slots(encoded[:, :1], features)))
        with torch.no_grad():
            codes = codes_of(self.quantizer, features)
        unused = torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        nothing = 0.0 * unused  # processes that share a batch wait for a gradient of every weight
        return Dynamics(video=made, codes=codes, loss=nothing)

    def _encoded(self, clip: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b f i j c"]:
        height, width = clip.shape[-2:]
        if height % self.factor or width % self.factor:
            told = f"CausalQueries cannot see frames of {height}x{width}"
            raise ValueError(f"{told}; both sides must be multiples of {self.factor}")
        return self.encoder(2.0 * clip.movedim(2, -1) - 1.0, None)

    def _followed(self, found: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Normalised; while training, the moments follow."""
        if self.training:
            self.statistics.update(found.detach().flatten(1))
        return self._normalised(found)

    def _normalised(self, found: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.statistics.normalised(found.flatten(1)).unflatten(1, found.shape[1:])

    def _slots(
        self, first: Float[Tensor, "b 1 i j c"], latents: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b f i j c"]:
        """What the decoder sees: frame 0 as it is, then with all that has changed since."""
        changes = self.changes(latents.to(first.dtype), *first.shape[2:4])
        return torch.cat([first, first + changes.cumsum(dim=1)], dim=1)

    def _frames(self, slots: Float[Tensor, "b f i j c"]) -> Float[Tensor, "b f 3 h w"]:
        """In [0, 1], not clamped; in the weights' precision under autocast."""
        frames = self.decoder(slots, None).to(self.last_layer.dtype)
        return ((frames + 1.0) / 2.0).movedim(-1, 2)


class Changes(nn.Module):
    """What a code means at each place: nothing at first."""

    def __init__(self, *, code_dim: int, channels: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.code = nn.Linear(code_dim, hidden)
        self.places = Places(dim=hidden)
        self.mlp = nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.output = nn.Linear(hidden, channels)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, codes: Float[Tensor, "b n d"], height: int, width: int) -> Float[Tensor, "b n i j c"]:
        """A code is given to all places, each of which knows where it lies."""
        return self.output(self.mlp(self.code(codes)[:, :, None, None] + self.places(height, width)))
