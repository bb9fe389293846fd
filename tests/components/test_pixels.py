"""Pixels as latents."""

import torch

from components.latent_tokenizers import LatentTokenizer
from components.latent_tokenizers.pixels import Pixels


def test_pixels_come_back_and_parts_are_the_whole():
    tokenizer = Pixels()
    assert isinstance(tokenizer, LatentTokenizer)
    video = torch.randint(256, (2, 5, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float() / 255
    latents = tokenizer.encode(video)
    assert tokenizer.grid(5, 8, 8) == (5, 8, 8)
    assert latents.shape == video.shape
    back = tokenizer.decode(latents)
    torch.testing.assert_close(back, video, rtol=0, atol=1e-6)
    assert torch.equal(back.mul(255).round(), video.mul(255).round())
    decode = tokenizer.decoding()
    assert torch.equal(torch.cat([decode(latents[:, :2]), decode(latents[:, 2:])], dim=1), back)
    assert abs(float(latents.std()) - 1) < 0.3
