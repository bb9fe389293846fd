import pytest
import torch

from components.flow_path import denoised
from components.guidance import Guidance
from components.guidance.classifier_free import ClassifierFree


def drawn(seed):
    return torch.randn(3, 2, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CONDITIONAL, UNCONDITIONAL, X = drawn(0), drawn(1), drawn(2)
SIGMA = torch.tensor([1.0, 0.5, 0.05], dtype=torch.float64)


def test_scale_one_needs_no_second_velocity():
    for rescale in (0.0, 0.7):
        guidance = ClassifierFree(scale=1.0, rescale=rescale)
        assert isinstance(guidance, Guidance)
        assert not guidance.needs_unconditional
        assert torch.equal(guidance(CONDITIONAL, None, X, SIGMA), CONDITIONAL)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_goes_along_the_difference(scale):
    guidance = ClassifierFree(scale=scale)
    assert guidance.needs_unconditional
    made = guidance(CONDITIONAL, UNCONDITIONAL, X, SIGMA)
    expected = UNCONDITIONAL + scale * (CONDITIONAL - UNCONDITIONAL)
    torch.testing.assert_close(made, expected, atol=1e-14, rtol=0)


def test_rescaled_estimates_have_the_conditional_ones_deviation():
    plain = denoised(X, ClassifierFree(scale=4.0)(CONDITIONAL, UNCONDITIONAL, X, SIGMA), SIGMA)
    wanted = denoised(X, CONDITIONAL, SIGMA).flatten(1).std(dim=1)
    full = ClassifierFree(scale=4.0, rescale=1.0)(CONDITIONAL, UNCONDITIONAL, X, SIGMA)
    torch.testing.assert_close(denoised(X, full, SIGMA).flatten(1).std(dim=1), wanted)
    half = ClassifierFree(scale=4.0, rescale=0.5)(CONDITIONAL, UNCONDITIONAL, X, SIGMA)
    between = (denoised(X, full, SIGMA) + plain) / 2
    torch.testing.assert_close(denoised(X, half, SIGMA), between)


def test_wrong_settings_are_one_clear_line():
    with pytest.raises(ValueError, match="rescale in"):
        ClassifierFree(rescale=1.5)
    with pytest.raises(ValueError, match="needs an unconditional velocity"):
        ClassifierFree(scale=2.0)(CONDITIONAL, None, X, SIGMA)
