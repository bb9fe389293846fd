"""Quantisers turn features into codes: indices into a codebook, and the entries they stand for.

| name | codes | loss | collapses by | paper |
|---|---|---|---|---|
| vq | K learned vectors, means of their features | commitment | codes never chosen, unless restarted | LWM |
| clustering_vq | K learned vectors, unused ones sent to features | as vq, codebook | equal features | Loong |
| fsq | a fixed grid: n numbers, each on one of L_i levels | none | features far off the grid | VideoWorld |
| lfq | corners of a cube: signs of log2(K) numbers | entropy, commitment | small entropy weight | MAGVIT-v2 |

Where to start: fsq needs no care at all; clustering_vq uses a learned codebook to the full; vq is what most
public weights have; lfq is for 2^14 codes and more.

fsq and lfq project features of any `dim` to their few numbers and back. Learned codebooks start uniform in
[-1/K, 1/K] and change only in training mode, at every pass: one pass a training step. Under several processes
usage, means and new places of codes are those of the joined batch, and codebooks stay equal. Codes are found
in float32 under autocast too; keep the codebooks themselves in float32 (precision bf16-mixed, not bf16-true),
where running means can still move, and leave vq by gradient and clustering_vq unsharded.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


class Quantized(NamedTuple):
    """Features replaced by entries of the codebook.

    latents: what `lookup` gives for the indices, to the bit; gradients pass straight through to the features.
    loss: weighted already, to be added to the reconstruction's.
    """

    latents: Float[Tensor, "*n d"]
    indices: Int[Tensor, "*n"]
    loss: Float[Tensor, ""]


@runtime_checkable
class Quantizer(Protocol):
    """Quantise features on the last axis.

    codebook_size: number of codes.
    dim: size of the last axis, before any projection.
    """

    codebook_size: int
    dim: int

    def __call__(self, latents: Float[Tensor, "*n d"]) -> Quantized: ...

    def lookup(self, indices: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """What the decoder sees for indices in [0, codebook_size)."""
