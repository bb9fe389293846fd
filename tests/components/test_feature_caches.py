"""TeaCache: which steps are computed, and what stands for the others."""

import pytest
import torch

from components.backbones.hunyuan_video import HunyuanVideo
from components.backbones.wan import Wan
from components.feature_caches import FeatureCache, Reuse
from components.feature_caches.tea import FRAMEPACK, TeaCache
from tests.components.test_causal_context import SIZES, inputs

PLAIN = (1.0, 0.0)


def signals(*changes):
    """Signals whose mean size is multiplied by 1 + change from one to the next."""
    values = [1.0]
    for change in changes:
        values.append(values[-1] * (1 + change))
    return [torch.full((1, 2, 3), value) for value in values]


def followed(cache, given):
    """Steps with these signals, each of which adds its number where it is computed."""
    steps = cache.start(len(given))
    made = [
        float(steps(signal, torch.zeros(1, 1, 3), lambda n=n: torch.full((1, 1, 3), float(n))).mean())
        for n, signal in enumerate(given)
    ]
    return steps.computed, made


def test_changes_add_up_until_they_are_too_much():
    computed, made = followed(TeaCache(threshold=0.25, coefficients=PLAIN), signals(*[0.1] * 6))
    assert computed == [True, False, False, True, False, False, True]  # 0.1, 0.2, then 0.3; the last always
    assert made == [0, 0, 0, 3, 3, 3, 6]


def test_what_is_added_is_the_change_of_the_last_computed_step():
    steps = TeaCache(threshold=1.0, coefficients=PLAIN).start(3)
    signal, tokens = torch.ones(1, 2, 3), torch.full((1, 1, 3), 2.0)
    assert steps(signal, tokens, lambda: tokens + 5).eq(7).all()
    assert steps(signal, tokens + 1, lambda: tokens).eq(8).all()


def test_the_polynomial_is_the_released_one():
    guess = TeaCache().start(5)._guess(0.1)
    expected = sum(c * 0.1 ** (4 - power) for power, c in enumerate(FRAMEPACK))
    assert guess == pytest.approx(expected)
    computed, _ = followed(TeaCache(threshold=0.0, coefficients=(1.0, -0.5)), signals(*[0.1] * 5))
    assert all(computed)  # also where the polynomial is below 0
    for wrong in ({"threshold": -0.1}, {"coefficients": ()}):
        with pytest.raises(ValueError, match="give 0"):
            TeaCache(**wrong)


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_a_backbone_computes_or_reuses(threshold):
    """At threshold 0 the velocities are those without a cache, bit for bit."""
    torch.manual_seed(0)
    model = HunyuanVideo(**SIZES).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    cache = TeaCache(threshold=threshold, coefficients=PLAIN)
    assert isinstance(cache, FeatureCache)
    steps = cache.start(4)
    assert isinstance(steps, Reuse)
    with torch.no_grad():
        for sigma in (1.0, 0.99, 0.98, 0.5):
            given = inputs() | {"sigma": torch.tensor([sigma])}
            mine, theirs = model(**given, reuse=steps), model(**given)
            assert torch.equal(mine, theirs) == steps.computed[-1]
    assert steps.computed == ([True] * 4 if threshold == 0 else [True, False, False, True])


def test_a_backbone_without_one_says_so():
    model = Wan(
        latent_channels=2, num_heads=1, head_dim=12, hidden_dim=8, num_layers=1, text_dim=8, text_length=None
    )
    with pytest.raises(ValueError, match="feature_cache=null"):
        model(**inputs(), reuse=TeaCache().start(2))
