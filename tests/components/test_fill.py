"""Filling gaps: each place from its own ids, as a pass without a cache would."""

import pytest
import torch

from components.attention.rope import Rope
from components.backbones.causal_decoder import CausalDecoder
from components.samplers.fill import fill
from components.samplers.next_token import NextToken
from components.sequences.union_layout import UnionLayout
from components.vocabularies.table import Table


@pytest.fixture
def model():
    torch.manual_seed(0)
    layout = UnionLayout(image_size=20, codes_size=9)
    decoder = CausalDecoder(dim=16, num_layers=2, num_heads=2, hidden_dim=24, rope=Rope())
    table = Table(size=layout.size, dim=16)
    with torch.no_grad():
        for weight in [*decoder.parameters(), *table.parameters()]:
            weight.mul_(8)
    return layout, decoder, table


def filled(model, *, temperature: float, replaced=(), known_frames: int = 1, seed: int = 0):
    layout, decoder, table = model
    slots = layout.slots(2, 4, 3)
    images = torch.randint(20, (5, 2, 4), generator=torch.Generator().manual_seed(1))[:, :known_frames]
    tokens = layout.tokens(slots, images, None)
    known = slots.is_image & (slots.frame < known_frames)
    made = fill(
        decoder, lambda ids, part: table.embed(ids), table.logits, tokens, known, slots.first, slots.size,
        lambda place: NextToken(temperature=temperature), torch.Generator().manual_seed(seed), replaced,
    )  # fmt: skip
    return slots, tokens, known, made


@pytest.mark.parametrize("temperature", [0.0, 1.0, 9.0])
def test_every_place_takes_an_id_of_its_own_type_and_what_is_known_stays(model, temperature):
    slots, tokens, known, made = filled(model, temperature=temperature)
    assert torch.all((made >= slots.first) & (made < slots.first + slots.size))
    assert torch.equal(made[:, known], tokens[:, known])


def test_greedy_filling_is_that_of_whole_passes(model):
    _, decoder, table = model
    slots, tokens, known, made = filled(model, temperature=0.0)
    for place in range(1, len(slots)):
        if known[place] or slots.size[place] == 1:
            continue
        hidden = decoder(table.embed(tokens[:, :place]))[:, -1]
        ids = slice(int(slots.first[place]), int(slots.first[place] + slots.size[place]))
        tokens[:, place] = table.logits(hidden, ids).argmax(-1) + slots.first[place]
    assert torch.equal(tokens, made)


def test_places_behind_gaps_that_are_known_are_read_with_what_was_drawn(model):
    """Codes of a frame that is given are drawn before the next given frame is read."""
    slots, tokens, known, made = filled(model, temperature=0.0, known_frames=2)
    assert torch.equal(made[:, known], tokens[:, known])
    assert torch.equal(made[:, slots.is_codes], filled(model, temperature=0.0)[3][:, slots.is_codes])


def test_a_replaced_place_is_random_and_the_rest_goes_on_from_it(model):
    slots, _, _, plain = filled(model, temperature=0.0)
    first, second, _ = slots.is_codes.nonzero().flatten().tolist()
    _, _, _, made = filled(model, temperature=0.0, replaced={second})
    assert torch.equal(made[:, :second], plain[:, :second])
    assert not torch.equal(made[:, second], plain[:, second])
    assert torch.all((made >= slots.first) & (made < slots.first + slots.size))
    others = [filled(model, temperature=0.0, replaced={first}, seed=seed)[3][:, first] for seed in range(40)]
    assert len(torch.stack(others).unique()) == 9  # every code
