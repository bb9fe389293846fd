"""Sections decoded with the one before them, and faded into each other."""

import torch
from jaxtyping import Float
from torch import Tensor

from components.latent_tokenizers import LatentTokenizer
from components.section_decodings import Decode


class CrossFade:
    """Each section is decoded behind the one before it, as a video of its own; shared frames are faded.

    For tokenizers that do not decode in parts exactly, such as HunyuanVideo's. Two sections of S latents are
    1 + f (2 S - 1) frames, of which all but the last f S were there before: weights go evenly from the old
    ones to the new. Those frames of a section that the next one fades into are held back until then.
    Source: FramePack's released code, where S is 9, f 4 and 33 frames are faded.
    """

    def __call__(self, tokenizer: LatentTokenizer, z: Float[Tensor, "b l c i j"], *, section: int) -> Decode:
        latents, shared = z, 1 + tokenizer.time_factor * (section - 1)
        held = tokenizer.decode(z[:, -section:])[:, -shared:]
        known = held.shape[1]  # so many frames of what is held have been shown

        def following(new: Float[Tensor, "b l c i j"], final: bool) -> Float[Tensor, "b t 3 h w"]:
            nonlocal latents, held, known
            for part in new.split(section, dim=1):
                latents = torch.cat([latents, part], dim=1)[:, -2 * section :]
                frames, fresh = tokenizer.decode(latents), part.shape[1] * tokenizer.time_factor
                held = faded(held, frames, min(held.shape[1], frames.shape[1] - fresh), fresh)
            done = held.shape[1] if final else max(held.shape[1] - shared, 0)
            shown, held, known = held[:, known:done], held[:, done:], max(known - done, 0)
            return shown

        return following


def faded(
    old: Float[Tensor, "b s 3 h w"], new: Float[Tensor, "b t 3 h w"], overlap: int, fresh: int
) -> Float[Tensor, "b u 3 h w"]:
    """The old frames, the last `overlap` of them faded into their like before the last `fresh` of the new."""
    rise = torch.linspace(0, 1, overlap, device=old.device, dtype=old.dtype)[:, None, None, None]
    begin = old.shape[1] - overlap
    like = new[:, new.shape[1] - fresh - overlap : new.shape[1] - fresh]
    return torch.cat([old[:, :begin], torch.lerp(old[:, begin:], like, rise), new[:, -fresh:]], dim=1)
