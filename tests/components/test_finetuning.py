"""Which weights train, where additions go, and that they begin as nothing."""

import pytest
import torch
from torch import Tensor, nn

from components.finetuning import Finetuning
from components.finetuning.full import Full
from components.finetuning.lora import Lora, plain, under_additions


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_out = nn.Linear(6, 6), nn.ModuleList([nn.Linear(6, 6, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out[0](torch.tanh(self.to_q(x)))


class Denoiser(nn.Module):
    """Two attentions and a layer that the base lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.attn1, self.attn2 = Attention(), Attention()
        self.patches = nn.ModuleDict({"proj": nn.Conv3d(6, 6, 1), "to_q": nn.Linear(6, 6)})
        self.register_buffer("scale", torch.tensor(2.0))

    def patch_layers(self) -> list[nn.Module]:
        return [self.patches]

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.attn2(self.attn1(x)) + self.patches["to_q"](x)


X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser().double()


def lora(**options) -> Lora:
    pytest.importorskip("peft")
    return Lora(**{"rank": 2, "alpha": 3.0, "targets": ["to_q", "to_out.0"]} | options)


def trained(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def moved(model: nn.Module) -> None:
    """Every weight that trains, somewhere else."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight))


def test_both_are_finetunings():
    assert isinstance(Full(), Finetuning)
    assert isinstance(Lora(targets=["to_q"]), Finetuning)


def test_full_trains_everything():
    model = denoiser().requires_grad_(False)
    Full().prepare(model)
    assert trained(model) == {name for name, _ in model.named_parameters()}
    assert Full().merged(model).keys() == model.state_dict().keys()


def test_additions_and_new_layers_train_and_nothing_else():
    model, finetuning = denoiser(), lora()
    finetuning.prepare(model)
    assert finetuning.matched == 5
    ends = {name for name in trained(model) if ".lora_" not in name}
    assert ends == {"patches.proj.weight", "patches.proj.bias"}
    layers = {name.partition(".lora_")[0] for name in trained(model) if ".lora_" in name}
    assert layers == {"attn1.to_q", "attn1.to_out.0", "attn2.to_q", "attn2.to_out.0", "patches.to_q"}


def test_a_new_layer_that_is_no_target_trains_in_full():
    model = denoiser()
    lora(targets=["attn1.to_q"]).prepare(model)
    assert {"patches.to_q.weight", "patches.proj.bias"} < trained(model)


def test_additions_begin_as_nothing():
    model, plain_model = denoiser(), denoiser()
    lora().prepare(model)
    assert torch.equal(model(X), plain_model(X))


@torch.no_grad()
def test_merged_weights_do_the_same():
    model, finetuning = denoiser(), lora()
    finetuning.prepare(model)
    moved(model)
    other = denoiser()
    other.load_state_dict(finetuning.merged(model))
    assert (other(X) - model(X)).abs().max() < 1e-12
    assert (denoiser()(X) - model(X)).abs().max() > 0.1
    frozen = denoiser().attn1.to_q.weight
    assert torch.equal(model.attn1.to_q.base_layer.weight, frozen)


@torch.no_grad()
def test_additions_alone_have_their_scale_in_them():
    model, finetuning = denoiser(), lora()
    finetuning.prepare(model)
    moved(model)
    additions = finetuning.additions(model)
    assert len(additions) == 10
    merged = finetuning.merged(model)
    for name in {name.partition(".lora_")[0] for name in additions}:
        up, down = additions[f"{name}.lora_B.weight"], additions[f"{name}.lora_A.weight"]
        assert up.shape == (6, 2)
        assert down.shape == (2, 6)
        base = model.state_dict()[f"{name}.base_layer.weight"]
        torch.testing.assert_close(base + up @ down, merged[f"{name}.weight"])


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["to_k"], "no Linear layer is called 'to_k'; there are to_q"),
        (["to_q", "to_out"], "no Linear layer is called 'to_out'; there are to_out.0"),
        (["proj"], "no Linear layer is called 'proj'"),
        (["o_q"], "no Linear layer is called 'o_q'"),
    ],
)
def test_a_target_that_matches_nothing_is_told(targets, told):
    with pytest.raises(ValueError, match=told) as caught:
        lora(targets=targets).prepare(denoiser())
    assert "\n" not in str(caught.value)


def test_without_peft_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ValueError, match="pip install peft"):
        Lora(targets=["to_q"]).prepare(denoiser())


def test_weights_without_additions_find_their_places():
    model, whole = nn.ModuleDict({"net": denoiser()}), nn.ModuleDict({"net": denoiser()})
    lora().prepare(model["net"])
    own = model.state_dict()
    placed = under_additions(dict(whole.state_dict()), own)
    assert placed.keys() == own.keys()
    assert {plain(name) for name in placed if ".lora_" not in name} == whole.state_dict().keys()
    assert under_additions(dict(own), own).keys() == own.keys()
    assert under_additions({"other.weight": X}, own).keys() == {"other.weight"}
    assert under_additions(dict(whole.state_dict()), whole.state_dict()).keys() == whole.state_dict().keys()
