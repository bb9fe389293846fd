"""The inner step against derivatives made in other ways, and where a feature is."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, grad

from components.success_classifiers import SuccessClassifier
from components.success_classifiers.few_shot import FewShotClassifier, soft_argmax

TINY = {"widths": (3, 4), "strides": (2, 1), "dim": 5, "temperature": 0.3}


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return FewShotClassifier(**TINY | changes).double()


def frames(*shape, seed=0):
    return torch.rand(*shape, 3, 8, 9, generator=torch.Generator().manual_seed(seed)).double()


class Head(torch.nn.Module):
    """Calls `logits` as a module, so that functional_call knows it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pictures):
        return self.model.logits(pictures)


def loss_of(model, pictures):
    """The inner loss as a function of the weights, by torch.func alone."""

    def loss(weights):
        named = {f"model.{name}": weight for name, weight in weights.items()}
        logits = functional_call(Head(model), named, (pictures,))
        return F.cross_entropy(logits, torch.ones(len(pictures), dtype=torch.long))

    return loss


@pytest.mark.parametrize("clip", [80.0, 0.01])
def test_the_inner_step_is_that_of_torch_func_and_of_autograd(clip):
    model, shown = tiny(gradient_clip=clip, step_size=0.7), frames(5)
    assert isinstance(model, SuccessClassifier)
    own = model.weights()
    by_func = grad(loss_of(model, shown))(own)
    loss = -model.logits(shown).log_softmax(1)[:, 1].mean()
    by_hand = torch.autograd.grad(loss, list(own.values()))
    clipped = 0
    for (name, found), second in zip(model.adapted(shown).items(), by_hand, strict=True):
        assert torch.allclose(by_func[name], second, atol=1e-12)
        bounded = torch.where(second.abs() > clip, clip * second.sign(), second)
        clipped += int((second.abs() > clip).sum())
        assert torch.allclose(found, own[name] - 0.7 * bounded, atol=1e-12)
    assert (clipped > 0) == (clip < 1)


def test_the_outer_gradient_is_of_second_order():
    """It equals finite differences of adapting and judging together; that of first order does not."""
    model, shown, seen = tiny(), frames(4), frames(6, seed=1)
    labels = torch.tensor([1, 1, 1, 0, 0, 0])

    def outer():
        return F.cross_entropy(model(shown[None], seen[None])[0], labels)

    weights = list(model.parameters())
    whole = torch.autograd.grad(outer(), weights)
    adapted = {name: weight.detach().requires_grad_() for name, weight in model.adapted(shown).items()}
    first_order = torch.autograd.grad(
        F.cross_entropy(model.logits(seen, adapted), labels), list(adapted.values())
    )
    generator, step, apart = torch.Generator().manual_seed(0), 1e-5, 0.0
    for weight, slope, first in zip(weights, whole, first_order, strict=True):
        way = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * step * way
                ends.append(outer().item())
                weight -= sign * step * way
        measured = (ends[0] - ends[1]) / (2 * step)
        assert (slope * way).sum().item() == pytest.approx(measured, rel=1e-4, abs=1e-8)
        apart = max(apart, abs((first * way).sum().item() - measured))
    assert apart > 1e-3


def test_adapting_leaves_its_own_weights_and_frozen_ones_as_they_are():
    model, shown = tiny(), frames(5)
    model.features[0].requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.weights().items()}
    adapted = model.adapted(shown)
    assert all(torch.equal(weight, before[name]) for name, weight in model.weights().items())
    same = {name for name in before if torch.equal(adapted[name], before[name])}
    assert {"features.0.weight", "features.0.bias"} <= same
    assert not any(name.startswith("head") for name in same)


def test_it_adapts_where_gradients_are_off():
    model, shown, seen = tiny(), frames(1, 5), frames(1, 3, seed=1)
    expected = model(shown, seen)
    assert expected.requires_grad
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            found = model(shown * 1, seen * 1)
        assert not found.requires_grad
        torch.testing.assert_close(found, expected.detach())


def test_each_task_of_a_batch_adapts_on_its_own():
    model, shown, seen = tiny(), frames(3, 5), frames(3, 4, seed=1)
    for i, logits in enumerate(model(shown, seen)):
        assert torch.allclose(logits, model.logits(seen[i], model.adapted(shown[i])), atol=1e-12)
    assert torch.equal(model.logits(seen[0]), model.logits(seen[0], model.weights()))


@given(row=st.integers(0, 6), column=st.integers(0, 4))
def test_a_map_with_one_peak_is_where_that_is(row, column):
    maps = torch.zeros(1, 1, 7, 5)
    maps[0, 0, row, column] = 1.0
    expected = torch.tensor([row / 3 - 1, column / 2 - 1])
    torch.testing.assert_close(soft_argmax(maps, 0.01)[0, 0], expected)
    torch.testing.assert_close(soft_argmax(100 * maps + 7)[0, 0], expected)


def test_an_even_map_is_in_the_middle_and_mirrored_maps_are_mirrored():
    assert soft_argmax(torch.full((2, 3, 6, 5), 4.0)).abs().max() < 1e-6
    maps = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    mirrored = soft_argmax(maps.flip(3), 0.1)
    torch.testing.assert_close(mirrored * torch.tensor([1.0, -1.0]), soft_argmax(maps, 0.1))


def test_layer_norm_is_over_the_whole_picture():
    """Features of a picture have mean 0 and deviation 1 over channels and places, whatever the others are."""
    model = FewShotClassifier(widths=(4,), strides=(1,))
    normed = model.features[:2](torch.rand(3, 3, 6, 5, generator=torch.Generator().manual_seed(0)))
    assert normed.flatten(1).mean(dim=1).abs().max() < 1e-5
    torch.testing.assert_close(normed.flatten(1).std(dim=1, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_the_size_is_the_published_one():
    """3 -> 32 -> 32 -> 32 convolutions with norms, 64 -> 40 -> 2."""
    count = sum(weight.numel() for weight in FewShotClassifier().parameters())
    assert count == (27 * 32 + 32) + 2 * (288 * 32 + 32) + 3 * 64 + (64 * 40 + 40) + (40 * 2 + 2)


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="2 widths and 3 strides"):
        FewShotClassifier(widths=(4, 4))
    with pytest.raises(ValueError, match="step_size 0, gradient_clip 80; give more than 0"):
        FewShotClassifier(step_size=0.0)
