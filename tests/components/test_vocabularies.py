import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from components.vocabularies import Vocabulary
from components.vocabularies.one_table import OneTable
from components.vocabularies.two_tables import TwoTables

TEXT, VISION, DIM = 7, 10, 6


def two_tables() -> TwoTables:
    torch.manual_seed(0)
    return TwoTables(dim=DIM, text_size=TEXT, vision_size=VISION, chunk=3).double()


def one_table() -> OneTable:
    torch.manual_seed(0)
    return OneTable(dim=DIM, text_size=TEXT, vision_size=VISION, chunk=3).double()


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden vectors, targets, their kinds and weights."""
    generator = torch.Generator().manual_seed(1)
    kinds = torch.rand(2, 9, generator=generator) < 0.6
    targets = torch.where(kinds, *(torch.randint(n, (2, 9), generator=generator) for n in (VISION, TEXT)))
    weights = torch.rand(2, 9, generator=generator).double()
    weights[0, :4] = 0
    return torch.randn(2, 9, DIM, generator=generator).double(), targets, kinds, weights


@pytest.mark.parametrize("vocabulary", [two_tables(), one_table()], ids=["two_tables", "one_table"])
def test_losses_are_weighted_sums_of_dense_cross_entropy(vocabulary: Vocabulary):
    assert isinstance(vocabulary, Vocabulary)
    hidden, targets, kinds, weights = batch()
    hidden.requires_grad_()
    losses = vocabulary.losses(hidden, targets, kinds, weights)
    for name, vision in (("text", False), ("vision", True)):
        if isinstance(vocabulary, OneTable):
            logits = torch.cat([vocabulary.logits(hidden, vision=kind) for kind in (False, True)], dim=-1)
            ids = targets + TEXT * kinds
        else:
            logits, ids = vocabulary.logits(hidden, vision=vision), targets.where(kinds == vision, 0)
        entropy = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view_as(weights)
        expected = (weights * (kinds == vision) * entropy).sum()
        assert float((losses[name] - expected).detach().abs()) < 1e-12
        (found,) = torch.autograd.grad(losses[name], hidden)
        (dense,) = torch.autograd.grad(expected, hidden)
        assert float((found - dense).abs().max()) < 1e-12


def test_two_tables_choose_by_mask():
    vocabulary = two_tables()
    tokens = torch.tensor([[0, 9, 6, 8]])
    is_vision = torch.tensor([[False, True, False, True]])
    found = vocabulary.embed(tokens, is_vision)[0]
    text, vision = vocabulary.text.tokens.weight, vocabulary.vision.tokens.weight
    assert torch.equal(found, torch.stack([text[0], vision[9], text[6], vision[8]]))


def test_one_table_puts_vision_behind_text():
    vocabulary = one_table()
    tokens = torch.tensor([[0, 9, 6, 0]])
    is_vision = torch.tensor([[False, True, False, True]])
    found = vocabulary.embed(tokens, is_vision)[0]
    assert torch.equal(found, vocabulary.table.tokens.weight[[0, TEXT + 9, 6, TEXT]])
    hidden = torch.randn(4, DIM).double()
    assert vocabulary.logits(hidden, vision=False).shape == (4, TEXT)
    assert vocabulary.logits(hidden, vision=True).shape == (4, VISION)


@pytest.mark.parametrize(("kind", "other"), [("text", "vision"), ("vision", "text")])
def test_one_kind_alone_gives_the_other_tables_gradients_of_zero(kind: str, other: str):
    vocabulary = two_tables()
    tokens = torch.tensor([[1, 2, 3]])
    is_vision = torch.full((1, 3), kind == "vision")
    losses = vocabulary.losses(vocabulary.embed(tokens, is_vision), tokens, is_vision, torch.ones(1, 3))
    (losses["text"] + losses["vision"]).backward()
    assert losses[other] == 0
    for part in ("tokens", "head"):
        assert getattr(vocabulary, kind).get_submodule(part).weight.grad.count_nonzero() > 0
        assert getattr(vocabulary, other).get_submodule(part).weight.grad.count_nonzero() == 0


def test_vision_loss_of_a_mixed_batch_leaves_the_text_head_alone():
    vocabulary = two_tables()
    losses = vocabulary.losses(*batch())
    (found,) = torch.autograd.grad(
        losses["vision"], [vocabulary.text.head.weight], allow_unused=True, retain_graph=True
    )
    assert found is None
    (found,) = torch.autograd.grad(losses["text"], [vocabulary.vision.head.weight], allow_unused=True)
    assert found is None


def test_weights_may_be_of_another_precision_than_hidden_vectors():
    vocabulary = two_tables().bfloat16()
    hidden, targets, kinds, weights = batch()
    losses = vocabulary.losses(hidden.bfloat16(), targets, kinds, weights)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_published_sizes():
    with torch.device("meta"):
        lwm = TwoTables(dim=4096, text_size=32_000, vision_size=8448)
        loong = OneTable(dim=1280, text_size=32_000, vision_size=8192 + 10)
        go = OneTable(dim=1024, text_size=32_000, vision_size=3 + 64_000 + 2 + 64_000)
        calvin = OneTable(dim=1024, text_size=0, vision_size=128_002)
    assert {name: tuple(p.shape) for name, p in lwm.named_parameters()} == {
        "text.tokens.weight": (32_000, 4096),
        "text.head.weight": (32_000, 4096),
        "vision.tokens.weight": (8448, 4096),
        "vision.head.weight": (8448, 4096),
    }
    assert loong.table.head.weight.shape == (40_202, 1280)
    assert go.table.head.weight.shape == (160_005, 1024)
    assert calvin.logits(torch.empty(2, 1024, device="meta"), vision=True).shape == (2, 128_002)


def test_first_weights():
    vocabulary = TwoTables(dim=64, text_size=500, vision_size=600)
    for name, weight in vocabulary.named_parameters():
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05), name
