"""Frames of sections: in parts as at once, or faded over what two sections share."""

import pytest
import torch

from components.latent_tokenizers.causal_vae import CausalVAE
from components.section_decodings import SectionDecoding
from components.section_decodings.cross_fade import CrossFade
from components.section_decodings.exact import Exact

TINY = {
    "channels": 2, "patch": (2, 2), "widths": (8, 8), "halvings": ("both",), "blocks": 1
}  # fmt: skip


class Counted(CausalVAE):
    """A stand-in for a tokenizer whose frames tell how they were decoded: 1 frame, then 4 a latent.

    A frame's value is its latent's, plus 100 for each latent that was decoded before it.
    """

    def __init__(self):
        super().__init__(**TINY)

    def decode(self, z):
        value = z[:, :, :1, :1, :1] + 100.0 * torch.arange(z.shape[1])[:, None, None, None]
        frames = torch.cat([value[:, :1], value[:, 1:].repeat_interleave(4, dim=1)], dim=1)
        return frames.expand(-1, -1, 3, 1, 1)


def latents(*values):
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None, None]


def all_of(decode, z, size):
    parts = list(z.split(size, dim=1))
    return [decode(part, part is parts[-1]) for part in parts]


def test_exact_is_decoding_at_once():
    torch.manual_seed(0)
    tokenizer = CausalVAE(**TINY).eval()
    z = torch.randn(1, 7, 2, 4, 4)
    with torch.no_grad():
        decode = Exact()(tokenizer, z[:, :3], section=2)
        made = torch.cat(all_of(decode, z[:, 3:], 2), dim=1)
        torch.testing.assert_close(made, tokenizer.decode(z)[:, 9:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_sections", [1, 2, 4])
@pytest.mark.parametrize("known", [1, 2, 5])
def test_a_fade_gives_as_many_frames_as_its_latents_stand_for(num_sections, known):
    section = 3
    z = torch.randn(2, known + num_sections * section, 1, 1, 1)
    decode = CrossFade()(Counted(), z[:, :known], section=section)
    made = all_of(decode, z[:, known:], section)
    assert sum(part.shape[1] for part in made) == 4 * section * num_sections
    held = 1 + 4 * (section - 1)
    if num_sections > 1:  # of the first section all but what the second fades into
        assert made[0].shape[1] == 4 * section - held


def test_a_fade_goes_evenly_from_the_old_frames_to_the_new():
    """Two sections of 2 behind one known latent: 1 + 4 frames are shared between the last two."""
    decode = CrossFade()(Counted(), latents(0.0), section=2)
    first, last = all_of(decode, latents(1.0, 2.0, 3.0, 4.0), 2)
    old = torch.tensor([101.0] * 4 + [202.0] * 4)  # decoded behind the known one
    new = torch.tensor([1.0] + [102.0] * 4 + [203.0] * 4 + [304.0] * 4)  # as a video of its own
    rise = torch.linspace(0, 1, 5)
    faded = old[3:] * (1 - rise) + new[:5] * rise
    assert first[0, :, 0, 0, 0].tolist() == old[:3].tolist()
    torch.testing.assert_close(last[0, :, 0, 0, 0], torch.cat([faded, new[5:]]))


def test_latents_that_come_all_at_once_are_faded_section_by_section():
    z = torch.randn(1, 13, 1, 1, 1)
    parts, whole = (CrossFade()(Counted(), z[:, :1], section=3) for _ in range(2))
    one = torch.cat(all_of(parts, z[:, 1:], 3), dim=1)
    torch.testing.assert_close(one, whole(z[:, 1:], True))


def test_both_keep_the_contract():
    assert isinstance(Exact(), SectionDecoding)
    assert isinstance(CrossFade(), SectionDecoding)
