"""SV2P's posterior: one Gaussian map read from the whole clip at once."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.pushing_unet import STRIDE, Halve, layer_norm, xavier_initialised
from components.gaussian import DiagonalGaussian


class VideoEncoder(nn.Module):
    """q(z | x_1..x_T), the same at every transition: video (b, t, c, h, w) -> Gaussians (b, t-1, latent_dim).

    All frames enter one convolutional tower as channels, so their number is fixed; in a shorter video the
    last frame is repeated, as if nothing moved any more. The latent is whole maps of height/8 * width/8
    numbers. Log variances are at least `min_log_variance`. Actions are not read.
    Every latent sees the whole video: samples that begin with posterior latents of the context pairs would
    know the future in training, so the recipe must draw them all from the prior.
    Raises ValueError for sizes that do not fit and for a video of more than `num_frames` frames.
    Source: SV2P (arXiv 1710.11252), construct_latent_tower of sv2p_model in SAVP's code.
    """

    pairs_only = False

    def __init__(
        self,
        *,
        num_frames: int,
        height: int,
        width: int,
        image_channels: int = 3,
        latent_dim: int = 64,
        min_log_variance: float = -5.0,
    ) -> None:
        super().__init__()
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"frames of {height}x{width} do not fit VideoEncoder; make both sides multiples of {STRIDE}"
            )
        area = height // STRIDE * (width // STRIDE)
        if latent_dim == 0 or latent_dim % area:
            raise ValueError(
                f"a latent of VideoEncoder is whole maps of {area} numbers at {height}x{width}; "
                f"set latent_dim to a multiple of {area}, not {latent_dim}"
            )
        self.latent_dim, self.num_frames = latent_dim, num_frames
        self.min_log_variance = min_log_variance
        maps = latent_dim // area
        self.trunk = nn.Sequential(
            Halve(num_frames * image_channels, 32, 3, bias=False), layer_norm(32), nn.ReLU(),
            Halve(32, 64, 3, bias=False), layer_norm(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False), layer_norm(64), nn.ReLU(),
        )  # fmt: skip
        self.mean = nn.Sequential(Halve(64, maps, 3, bias=False), layer_norm(maps))
        self.log_variance = nn.Sequential(Halve(64, maps, 3, bias=False), layer_norm(maps))
        xavier_initialised(self)

    def forward(
        self, video: Float[Tensor, "b t c h w"], actions: Float[Tensor, "b t-1 a"] | None = None
    ) -> DiagonalGaussian:
        num_frames = video.shape[1]
        missing = self.num_frames - num_frames
        if missing < 0:
            raise ValueError(
                f"the video encoder was built for {self.num_frames} frames, it was given {num_frames}"
            )
        whole = torch.cat([video, video[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        features = self.trunk(whole.flatten(1, 2))
        mean = self.mean(features).flatten(1)
        log_variance = F.relu(self.log_variance(features)).flatten(1) + self.min_log_variance
        each = [x[:, None].expand(-1, num_frames - 1, -1) for x in (mean, log_variance)]
        return DiagonalGaussian(*each)
