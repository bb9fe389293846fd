"""The chunked loss is F.cross_entropy of the whole logits, in value, gradients and precision."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from components.objectives import linear_cross_entropy as module
from components.objectives.linear_cross_entropy import linear_cross_entropy


def drawn(
    n: int, v: int, d: int, dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(n + v)
    hidden = (scale * torch.randn(n, d, generator=draw, dtype=torch.float64)).to(dtype).requires_grad_()
    weight = torch.randn(v, d, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(0, v, (n,), generator=draw)
    weights = torch.rand(n, generator=draw, dtype=torch.float64).to(dtype)
    return hidden, weight, targets, weights * (weights > 0.3)


def whole(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (weights * F.cross_entropy((hidden @ weight.T).to(weights.dtype), targets, reduction="none")).sum()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 23), v=st.integers(2, 40), chunk=st.one_of(st.none(), st.integers(1, 30)))
def test_value_and_gradients_equal_the_whole_softmax(n: int, v: int, chunk: int | None) -> None:
    hidden, weight, targets, weights = drawn(n, v, 5)
    expected = whole(hidden, weight, targets, weights)
    loss = linear_cross_entropy(hidden, weight, targets, weights, chunk)
    assert loss.dtype == torch.float64
    assert abs(loss.item() - expected.item()) < 1e-12
    for made, wanted in zip(
        torch.autograd.grad(3 * loss, (hidden, weight)),
        torch.autograd.grad(3 * expected, (hidden, weight)),
        strict=True,
    ):
        assert (made - wanted).abs().max() < 1e-12 if made.numel() else made.shape == wanted.shape


def test_logits_far_apart_neither_overflow_nor_lose_the_target() -> None:
    hidden, weight, targets, weights = drawn(16, 30, 5, torch.float32, scale=300.0)
    expected = whole(hidden, weight, targets, weights)
    torch.testing.assert_close(linear_cross_entropy(hidden, weight, targets, weights), expected)
    assert expected.item() > 100


def test_blocks_of_the_cache_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets, weights = drawn(17, 30, 5)
    whole_blocks = linear_cross_entropy(hidden, weight, targets, weights, 8)
    monkeypatch.setattr(module, "CACHE_LOGITS", 90)
    assert abs(whole_blocks.item() - linear_cross_entropy(hidden, weight, targets, weights, 8).item()) < 1e-12


def test_autocast_rounds_the_products_alone() -> None:
    hidden, weight, targets, weights = drawn(64, 50, 32, torch.float32)
    expected = whole(hidden, weight, targets, weights)
    with torch.autocast("cpu", torch.bfloat16):
        reference = whole(hidden, weight, targets, weights)
        loss = linear_cross_entropy(hidden, weight, targets, weights, 16)
    assert loss.dtype == torch.float32
    assert abs(loss.item() - expected.item()) < 0.01 * expected.item()
    for made, same_rounding, exact in zip(
        torch.autograd.grad(loss, (hidden, weight)),
        torch.autograd.grad(reference, (hidden, weight)),
        torch.autograd.grad(expected, (hidden, weight)),
        strict=True,
    ):
        assert made.dtype == torch.float32
        assert (made - exact).norm() < 1.1 * (same_rounding - exact).norm() + 1e-6


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_a_frozen_input_gets_no_gradient(frozen: str) -> None:
    hidden, weight, targets, weights = drawn(9, 7, 5)
    (hidden if frozen == "hidden" else weight).requires_grad_(False)
    linear_cross_entropy(hidden, weight, targets, weights, 4).backward()
    assert (hidden.grad is None) == (frozen == "hidden")
    assert (weight.grad is None) == (frozen == "weight")


def test_going_backward_twice_is_refused() -> None:
    loss = linear_cross_entropy(*drawn(9, 7, 5))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward already"):
        loss.backward()


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor):
                self.elements = max(self.elements, made.numel())
        return out


def test_the_logits_are_never_whole() -> None:
    hidden, weight, targets, weights = drawn(512, 300, 8, torch.float32)
    with Largest() as whole_logits:
        whole(hidden, weight, targets, weights).backward()
    with Largest() as chunked:
        linear_cross_entropy(hidden, weight, targets, weights, 32).backward()
    assert whole_logits.elements == 512 * 300
    assert chunked.elements == 32 * 300
