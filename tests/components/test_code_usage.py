"""How much of a codebook is in use."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.metrics.code_usage import CodeUsage


def judged(indices, *, codebook_size):
    metric = CodeUsage(codebook_size=codebook_size)
    metric.update(torch.as_tensor(indices))
    return {name: value.item() for name, value in metric.compute().items()}


def test_even_use_of_k_codes_has_perplexity_k():
    assert judged([[0, 1], [2, 3]], codebook_size=8) == pytest.approx({"usage": 0.5, "perplexity": 4.0})
    assert judged([5, 5, 5], codebook_size=8) == pytest.approx({"usage": 0.125, "perplexity": 1.0})


@settings(max_examples=30, deadline=None)
@given(indices=st.lists(st.integers(0, 9), min_size=1, max_size=50), cut=st.integers(0, 50))
def test_batches_add_up_to_the_whole(indices, cut):
    metric = CodeUsage(codebook_size=10)
    metric.update(torch.tensor(indices[:cut], dtype=torch.long))
    metric.update(torch.tensor(indices[cut:], dtype=torch.int32))
    shares = torch.bincount(torch.tensor(indices), minlength=10) / len(indices)
    assert metric.compute()["usage"] == len(set(indices)) / 10
    entropy = torch.distributions.Categorical(shares).entropy()
    torch.testing.assert_close(metric.compute()["perplexity"], entropy.exp(), rtol=1e-5, atol=1e-5)


def test_two_processes_count_what_one_does():
    first, second = CodeUsage(codebook_size=4), CodeUsage(codebook_size=4)
    first.update(torch.tensor([0, 0, 1]))
    second.update(torch.tensor([2]))
    first.distributed_available_fn = lambda: True
    first.dist_sync_fn = lambda counts, group: [counts, second.counts]
    together = {name: value.item() for name, value in first.compute().items()}
    assert together == pytest.approx(judged([0, 0, 1, 2], codebook_size=4))


def test_counts_beyond_what_a_float_holds():
    metric = CodeUsage(codebook_size=2)
    metric.counts += 2**24
    metric.update(torch.tensor([0]))
    assert metric.counts.tolist() == [2**24 + 1, 2**24]


def test_nothing_seen_is_not_a_number():
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert CodeUsage(codebook_size=3).compute()["perplexity"].isnan()
