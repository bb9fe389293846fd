"""NextToken against the plain rules that it follows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from components.samplers import TokenSampler
from components.samplers.next_token import NextToken


def some_logits(rows: int = 3, ids: int = 12, seed: int = 0) -> Tensor:
    return 3 * torch.randn(rows, ids, generator=torch.Generator().manual_seed(seed))


def kept_by_the_rules(logits: Tensor, temperature: float, top_k: int | None, top_p: float) -> np.ndarray:
    """Probabilities after temperature, top-k and top-p, id by id, in float64."""
    rows = []
    for row in logits.double().numpy() / temperature:
        order = np.argsort(-row)[:top_k]
        likely = np.exp(row[order] - row.max())
        likely /= likely.sum()
        held, kept = 0.0, []
        for one, share in zip(order, likely, strict=True):
            if held >= top_p:
                break
            kept.append(one)
            held += share
        probabilities = np.zeros_like(row)
        probabilities[kept] = np.exp(row[kept] - row.max())
        rows.append(probabilities / probabilities.sum())
    return np.stack(rows)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.2, 1.0, 1.7]),
    top_k=st.sampled_from([None, 1, 3, 12, 99]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
)
def test_trimming_follows_the_rules(seed, temperature, top_k, top_p):
    logits = some_logits(seed=seed)
    found = NextToken(temperature=temperature, top_k=top_k, top_p=top_p).trimmed(logits).softmax(dim=-1)
    np.testing.assert_allclose(found, kept_by_the_rules(logits, temperature, top_k, top_p), atol=1e-6)


def test_draws_are_as_frequent_as_their_probabilities():
    sampler, logits = NextToken(temperature=1.3, top_k=6, top_p=0.95), some_logits(rows=1)
    expected = kept_by_the_rules(logits, 1.3, 6, 0.95)[0]
    drawn = sampler.draw(logits.expand(20_000, -1), torch.Generator().manual_seed(0))
    found = torch.bincount(drawn, minlength=12) / len(drawn)
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert not found[expected == 0].any()


def test_temperature_zero_takes_the_likeliest():
    logits = some_logits()
    drawn = NextToken(temperature=0.0, top_k=3, top_p=0.5).draw(logits, torch.Generator())
    assert torch.equal(drawn, logits.argmax(dim=-1))


def test_same_generator_same_draws():
    sampler, logits = NextToken(), some_logits(rows=50)
    first, again, other = (sampler.draw(logits, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_half_precision_is_trimmed_in_float32():
    assert NextToken(top_p=0.9).trimmed(some_logits().bfloat16()).dtype == torch.float32


def test_guidance_runs_from_unconditional_to_conditional_logits_and_beyond():
    conditional, unconditional = some_logits(seed=1), some_logits(seed=2)
    for scale, expected in ((1.0, conditional), (0.0, unconditional)):
        assert torch.equal(NextToken(guidance=scale).guided(conditional, unconditional), expected)
    beyond = NextToken(guidance=3.0).guided(conditional, unconditional)
    torch.testing.assert_close(beyond, unconditional + 3.0 * (conditional - unconditional))


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"top_p .* in \(0, 1\]"):
        NextToken(**wrong)


def test_next_token_is_a_token_sampler():
    assert isinstance(NextToken(), TokenSampler)
