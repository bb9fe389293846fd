import pytest
import torch
from torch import nn

from components.adversarial import adaptive_weight as module
from components.adversarial.adaptive_weight import adaptive_weight


def weight_of(reconstruction, adversarial):
    """Of losses whose gradients at the last layer are these."""
    last = nn.Parameter(torch.zeros(len(reconstruction)))
    losses = [(last * torch.tensor(gradient)).sum() for gradient in (reconstruction, adversarial)]
    return adaptive_weight(*losses, last)


def test_is_the_ratio_of_gradient_norms():
    assert weight_of([3.0, 4.0], [0.0, 0.5]).item() == pytest.approx(5 / 0.5001)
    assert weight_of([0.0, 0.0], [1.0, 0.0]).item() == 0
    assert weight_of([3.0, 4.0], [0.0, 0.0]).item() == 1e4
    assert weight_of([0.3, 0.4], [0.0, 0.0]).item() == pytest.approx(5e3)


def test_balances_both_gradients_and_leaves_the_graph_for_the_backward_pass():
    torch.manual_seed(0)
    first, last = nn.Linear(4, 4), nn.Linear(4, 3)
    output = last(first(torch.randn(5, 4)))
    reconstruction, adversarial = output.abs().mean(), -output.sigmoid().mean()
    weight = adaptive_weight(reconstruction, adversarial, last.weight)
    assert not weight.requires_grad
    assert first.weight.grad is None
    assert last.weight.grad is None
    norms = [
        torch.autograd.grad(loss, last.weight, retain_graph=True)[0].norm()
        for loss in (reconstruction, weight * adversarial)
    ]
    assert norms[1].item() == pytest.approx(norms[0].item(), rel=0.01)
    (reconstruction + weight * adversarial).backward()
    assert first.weight.grad.abs().sum() > 0


def test_two_processes_weigh_as_one_with_their_whole_batch(monkeypatch):
    torch.manual_seed(0)
    last, batch = nn.Linear(4, 3), torch.randn(6, 4)

    def losses(part):
        return last(part).abs().mean(), -last(part).sigmoid().mean()

    whole, alone = (adaptive_weight(*losses(part), last.weight) for part in (batch, batch[:3]))
    others = torch.stack([torch.autograd.grad(loss, last.weight)[0] for loss in losses(batch[3:])])
    monkeypatch.setattr(module.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(module.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(module.distributed, "all_reduce", lambda gradients: gradients.add_(others))
    together = adaptive_weight(*losses(batch[:3]), last.weight)
    torch.testing.assert_close(together, whole)
    assert (alone - whole).abs() > 1e-3
