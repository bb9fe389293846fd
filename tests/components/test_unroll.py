"""Rollouts of many candidates: what they have in common is computed once, and nothing else changes."""

from functools import partial

import pytest
import torch

from components.backbones.recurrent_generator import RecurrentGenerator
from components.backbones.unroll import unroll
from components.transformations.cdna import CDNA
from components.transformations.flow import Flow


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Counting(RecurrentGenerator):
    """Keeps how many rows each step had."""

    def step(self, frame, state, **inputs):
        self.rows = [*getattr(self, "rows", []), len(frame)]
        return super().step(frame, state, **inputs)


def build(transformation=CDNA, **options):
    torch.manual_seed(0)
    settings = {"height": 32, "width": 32, "channels": 4, "latent_dim": 0, "action_dim": 2} | options
    return Counting(transformation=partial(transformation), **settings).double()


def joined(predictions):
    fields = zip(*predictions, strict=True)
    return [torch.stack(field) for field in fields if field[0] is not None and field[0].ndim]


def candidates(n=4, known=3, horizon=5):
    """One context, and actions that differ from its last frame on."""
    actions = torch.cat([drawn(1, known - 1, 2).expand(n, -1, -1), drawn(n, horizon, 2, seed=1)], dim=1)
    maps = drawn(1, known, 2, 32, 32, seed=2)
    maps = (maps / maps.sum((-2, -1), keepdim=True)).expand(n, -1, -1, -1, -1)
    return drawn(1, known, 3, 32, 32, seed=3).expand(n, -1, -1, -1, -1), actions, maps


@torch.no_grad()
@pytest.mark.parametrize("transformation", [CDNA, Flow])
@pytest.mark.parametrize("state_dim", [0, 3])
def test_a_context_that_candidates_share_is_fed_once_with_the_same_result(transformation, state_dim):
    generator = build(transformation, state_dim=state_dim, last_frames=2)
    frames, actions, maps = candidates()
    states = drawn(1, 3, 3, seed=4).expand(4, -1, -1) if state_dim else None
    given = {"actions": actions, "designated": maps, "states": states}
    together = joined(unroll(generator, frames, 7, **given))
    assert generator.rows == [1, 1, 4, 4, 4, 4, 4]
    for row in range(4):
        alone = {key: None if x is None else x[[row]] for key, x in given.items()}
        for one, many in zip(joined(unroll(generator, frames[[row]], 7, **alone)), together, strict=True):
            torch.testing.assert_close(many[:, [row]], one, atol=1e-12, rtol=0)


@torch.no_grad()
def test_rows_that_differ_in_anything_are_fed_apart():
    generator, plain = build(), candidates()
    for change in range(3):
        frames, actions, maps = (x.clone() for x in plain)
        (frames, actions, maps)[change][2, 1] += 0.1
        list(unroll(generator, frames, 4, actions=actions, designated=maps))
        assert generator.rows == [1, 4, 4, 4]
        generator.rows = []
    with_noise = build(latent_dim=3)
    list(unroll(with_noise, plain[0], 4, actions=plain[1], latents=drawn(4, 4, 3)))
    assert with_noise.rows == [4, 4, 4, 4]


@torch.no_grad()
def test_equal_candidates_stay_equal_and_training_is_left_alone():
    generator, (frames, actions, _) = build(), candidates()
    same = actions[:1].expand(4, -1, -1)
    made = torch.stack([prediction.frame for prediction in unroll(generator, frames, 7, actions=same)])
    assert generator.rows == [1, 1, 1, 4, 4, 4, 4]
    torch.testing.assert_close(made, made[:, :1].expand_as(made), atol=1e-12, rtol=0)
    generator.rows = []
    truth = torch.ones(4, 2, dtype=torch.bool)
    list(unroll(generator, frames, 2, actions=same, truth=truth))
    assert generator.rows == [4, 4]
