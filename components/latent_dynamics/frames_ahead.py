"""The frames that latent dynamics are about."""

import torch
from jaxtyping import Float
from torch import Tensor


def frames_ahead(video: Float[Tensor, "b t 3 h w"], horizon: int) -> Float[Tensor, "b f 3 h w"]:
    """Frames 0 to `horizon`; where a video ends before, its last frame is repeated."""
    clip = video[:, : 1 + horizon]
    missing = 1 + horizon - clip.shape[1]
    return torch.cat([clip, clip[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1) if missing else clip
