"""Who sees whom where the known frames of a video transformer are not to look ahead."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from components.backbones.denoiser import Segment

ALWAYS, NEVER = -(2**40), 2**40  # before all times, and behind them


def causal_mask(
    context: Sequence[Segment], num_noised: int, num_condition: int, height: int, width: int
) -> Bool[Tensor, "b 1 s s"]:
    """Of tokens of the context, the noised frames and the condition: True where the query (row) sees the key.

    The condition sees itself; a known frame the condition and frames that are not newer; noised frames all.
    So nothing of what is being made reaches what is known, but for the noise level, which the text is told.
    A patch over several frames has the time of its newest. height, width: base patches of a frame.
    """
    times = [_times(segment, height, width) for segment in context]
    b, device = len(times[0]), times[0].device
    noised = torch.full((b, num_noised), NEVER, device=device)
    condition = torch.full((b, num_condition), ALWAYS, device=device)
    all_times = torch.cat([*times, noised, condition], dim=1)
    return (all_times[:, None] <= all_times[:, :, None])[:, None]


def _times(segment: Segment, height: int, width: int) -> Tensor:
    """Newest time in each patch of a segment, in the order of its tokens."""
    k = segment.kernel
    padded = torch.nn.functional.pad(segment.indices, (0, -segment.indices.shape[1] % k), value=ALWAYS)
    newest = padded.unflatten(1, (-1, k)).amax(dim=2)
    return newest.repeat_interleave(-(-height // k) * -(-width // k), dim=1)
