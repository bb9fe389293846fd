"""Pixels as latents, for worlds so small that they need no tokenizer."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.latent_tokenizers import Decoding, Encoding, LatentReconstruction
from components.randomness import ClipRandom

MEAN, STD = 0.5, 0.25  # of pixels in [0, 1]: what makes latents of about unit variance


class Pixels(nn.Module):
    """Each frame a latent frame, each pixel a latent of three numbers, (pixel - 0.5) / 0.25. For
    stages.tokenizer=null: nothing is to train."""

    channels = 3
    time_factor = 1
    space_factor = 1
    causal = True

    def __init__(self) -> None:
        super().__init__()
        self.last_layer = nn.Parameter(torch.empty(0), requires_grad=False)  # there is none to train

    def grid(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        return num_frames, height, width

    def encode(self, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b l c i j"]:
        return (video - MEAN) / STD

    def decode(self, latents: Float[Tensor, "b l c i j"]) -> Float[Tensor, "b t 3 h w"]:
        return (latents * STD + MEAN).clamp(0.0, 1.0)

    def reconstruct(self, video: Float[Tensor, "b t 3 h w"], random: ClipRandom) -> LatentReconstruction:
        return LatentReconstruction(video, self.encode(video), torch.zeros((), device=video.device))

    def encoding(self) -> Encoding:
        return self.encode

    def decoding(self) -> Decoding:
        return self.decode

    def settings(self) -> dict[str, str | int | float | bool]:
        return {"mean": MEAN, "std": STD}
