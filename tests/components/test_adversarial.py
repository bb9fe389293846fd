import pytest
import torch
import torch.nn.functional as F

from components.adversarial import AdversarialLoss
from components.adversarial.feature_matching import feature_matching
from components.adversarial.hinge import Hinge
from components.adversarial.lsgan import LSGAN
from components.adversarial.softplus import Softplus


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_softplus_is_sigmoid_cross_entropy():
    real, fake = drawn(7), drawn(5, seed=1)
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(
        Softplus().discriminator(real, fake),
        bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake)),
    )
    torch.testing.assert_close(Softplus().generator(fake), bce(fake, torch.ones_like(fake)))


def test_lsgan_and_hinge_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])
    assert LSGAN().discriminator(real, fake).item() == pytest.approx((0 + 4) / 2 + (0 + 4) / 2)
    assert LSGAN().generator(fake).item() == pytest.approx((1 + 9) / 2)
    assert Hinge().discriminator(real, fake).item() == pytest.approx(0 + (1 + 0) / 2)
    assert Hinge().generator(fake).item() == pytest.approx(1.0)


@pytest.mark.parametrize("loss", [LSGAN(), Softplus(), Hinge()])
def test_the_two_sides_pull_fake_logits_apart(loss):
    assert isinstance(loss, AdversarialLoss)
    real, fake = torch.zeros(3, requires_grad=True), torch.full((3,), 0.5, requires_grad=True)
    loss.discriminator(real, fake).backward()
    assert (real.grad < 0).all()  # descending raises real logits
    assert (fake.grad > 0).all()  # and lowers fake ones
    fake.grad = None
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()


def test_feature_matching_is_the_summed_cosine_distance():
    fake = [drawn(2, 5, 3, 4), drawn(2, 6, 2, 2, 2)]
    real = [drawn(2, 5, 3, 4, seed=1), drawn(2, 6, 2, 2, 2, seed=2)]
    expected = sum((1 - F.cosine_similarity(x, y, dim=1)).mean() for x, y in zip(fake, real, strict=True))
    torch.testing.assert_close(feature_matching(fake, real), expected)
    assert feature_matching(real, [3 * y for y in real]).item() == pytest.approx(0.0, abs=1e-15)
    opposite = feature_matching([-y for y in real], real)
    assert opposite.item() == pytest.approx(2 * len(real))


def test_feature_matching_trains_the_fake_side_only():
    fake, real = drawn(2, 5, 3).requires_grad_(), drawn(2, 5, 3, seed=1).requires_grad_()
    feature_matching([fake], [real]).backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    nothing = torch.zeros(1, 3, 2, dtype=torch.float64, requires_grad=True)
    feature_matching([nothing], [drawn(1, 3, 2)]).backward()
    assert nothing.grad.isfinite().all()
