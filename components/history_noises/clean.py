"""No noise on the history."""

from jaxtyping import Float
from torch import Tensor

from components.history_noises import Draw, Seen
from components.memories import Context
from components.randomness import ClipRandom


class Clean:
    """The history as it is."""

    def trained(self, context: Context, sigma: Float[Tensor, " b"], random: ClipRandom) -> Context:
        return context

    def sampling(self, context: Context, draw: Draw) -> Seen:
        return lambda sigma: context
