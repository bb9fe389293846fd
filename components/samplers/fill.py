"""Fill the gaps of sequences whose places each take ids of one kind only."""

from collections.abc import Callable, Collection

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.backbones import TokenDecoder
from components.samplers import TokenSampler

Embed = Callable[[Int[Tensor, "b s"], slice], Float[Tensor, "b s d"]]


@torch.no_grad()
def fill(
    decoder: TokenDecoder,
    embed: Embed,
    logits: Callable[[Float[Tensor, "b d"], slice], Float[Tensor, "b v"]],
    tokens: Int[Tensor, "b s"],
    known: Bool[Tensor, " s"],
    first: Int[Tensor, " s"],
    size: Int[Tensor, " s"],
    samplers: Callable[[int], TokenSampler],
    generator: torch.Generator,
    replaced: Collection[int] = (),
) -> Int[Tensor, "b s"]:
    """Draw what is not known, place by place, from the ids first .. first + size - 1 of its place.

    Places that are known, or can take one id only, are read; as many at once as stand together. The first
    place is read in any case, and nothing is asked behind the last unknown one.
    embed: features of tokens at a slice of places. logits: of a slice of ids. samplers: of a place.
    replaced: places whose drawn token gives way to a random one of the same ids, from which the rest goes on.
    """
    tokens = tokens.clone()
    given = (known | (size == 1)).tolist()
    given[0] = True
    starts, sizes = first.tolist(), size.tolist()
    drawn = [place for place, is_given in enumerate(given) if not is_given]
    if not drawn:
        return tokens
    cache, read = None, 0
    for place in drawn:
        part = slice(read, place)
        x = embed(tokens[:, part], part)
        if cache is None:
            cache = decoder.new_cache(len(tokens), drawn[-1], dtype=x.dtype, device=x.device)
        hidden = decoder(x, cache=cache)[:, -1]
        ids = slice(starts[place], starts[place] + sizes[place])
        choice = samplers(place).draw(logits(hidden, ids), generator)
        if place in replaced:
            choice = torch.randint(sizes[place], choice.shape, generator=generator, device=choice.device)
        tokens[:, place] = choice + starts[place]
        read = place
    return tokens
