"""Memories decide what of a video the model sees while it makes the next section, and at which patch size.

| name | tokens for any number of known frames | forgets | paper |
|---|---|---|---|
| packed | as many as its structure says | frames beyond it; detail, with distance | FramePack, section 3.1 |
| window | a few whole frames | all before them | the usual sliding window, packed's f3k1_g2 |
| repeat | one whole frame | all before it | image-to-video again and again, packed's f1k1_g2 |
| anchor | a few whole frames, and the start | all between them | StreamingT2V (2403.14773): f1k1_x_f2k1_g2 |
| full | all frames, whole | nothing; its cost grows | causal video models without a limit |
| similarity | as many as its structure says | what is unlike the newest frame | FramePack, version 3 |
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.backbones.denoiser import Segment


class Context(NamedTuple):
    """What a denoiser is given beside the section: known latents in segments, and the section's times."""

    segments: list[Segment]
    indices: Int[Tensor, "b s"]

    def kept(self, which: Bool[Tensor, " b"]) -> "Context":
        """The same with zeros for what is known of the other clips."""
        mask = which[:, None, None, None, None]
        kept = [segment._replace(latents=segment.latents * mask) for segment in self.segments]
        return Context(kept, self.indices)

    @staticmethod
    def joined(contexts: Sequence["Context"]) -> "Context":
        """Contexts of several clips as one batch; their segments must be of the same sizes."""
        columns = zip(*(context.segments for context in contexts), strict=True)
        segments = [
            Segment(
                latents=torch.cat([segment.latents for segment in column]),
                indices=torch.cat([segment.indices for segment in column]),
                kernel=column[0].kernel,
            )
            for column in columns
        ]
        return Context(segments, torch.cat([context.indices for context in contexts]))


@runtime_checkable
class Memory(Protocol):
    """Known latents into context segments with their times.

    section: latent frames made at once. side: where known frames beside it lie. reach: of how many of them
    the context is a function; None: of all. shows: which single frames far off it shows beside: start, end.
    kernels: patch sizes of the segments, in units of the section's.
    """

    section: int
    reach: int | None
    side: Literal["before", "after"]
    shows: tuple[str, ...]
    kernels: tuple[int, ...]

    def __call__(
        self,
        start: Float[Tensor, "b 1 c i j"],
        history: Float[Tensor, "b t c i j"],
        *,
        gap: int = 0,
        end: Float[Tensor, "b 1 c i j"] | None = None,
        end_gap: int = 0,
    ) -> Context:
        """start: a known frame before the section. history: known frames right beside it, in time order, any
        number of them. gap: frames left out between the two. end: a known frame behind it; None: none is
        known. end_gap: frames left out before that."""

    def num_tokens(self, height: int, width: int, known: int = 0) -> int:
        """Tokens of context and section with so many known frames, for latents of this size."""
