"""Averages of weights: their formula, where they are seen, what a checkpoint holds; also in test_sharding."""

from types import SimpleNamespace

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from callbacks.averaged_weights import AveragedWeights


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1, bias=False)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)
        self.register_buffer("spread", torch.ones(1))
        self.register_buffer("count", torch.zeros(1, dtype=torch.long))

    def at(self, value: float) -> "Module":
        nn.init.constant_(self.net.weight, value)
        self.spread.fill_(value)
        self.count.fill_(int(value))
        return self


def step(callback, model: Module, number: int, value: float) -> None:
    callback.on_train_batch_end(SimpleNamespace(global_step=number), model.at(value), None, None, number)


def averaged(values: list[float]) -> tuple[Module, AveragedWeights]:
    model, callback = Module(), AveragedWeights(decay=0.75)
    for number, value in enumerate(values, 1):
        step(callback, model, number, value)
    return model, callback


def test_the_average_is_that_of_lightning():
    _, callback = averaged([1.0, 5.0, 2.0])
    theirs, other = EMAWeightAveraging(decay=0.75), Module()
    theirs.setup(SimpleNamespace(), other, "fit")
    for number, value in enumerate([1.0, 5.0, 2.0], 1):
        step(theirs, other, number, value)
    for name in ("net.weight", "spread"):
        expected = theirs._average_model.module.state_dict()[name]
        torch.testing.assert_close(callback.averages[name], expected)
    assert callback.averages.keys() == {"net.weight", "spread"}  # no frozen weight, no count


def test_a_batch_without_a_step_changes_nothing():
    model, callback = averaged([1.0, 5.0])
    before = callback.averages["net.weight"].clone()
    step(callback, model, 2, 9.0)
    assert torch.equal(callback.averages["net.weight"], before)


def test_validation_and_the_end_see_the_average():
    model, callback = averaged([1.0, 5.0])
    callback.on_validation_epoch_start(None, model)
    assert torch.equal(model.net.weight, torch.full((1, 2), 2.0))
    callback.on_validation_epoch_end(None, model)
    assert torch.equal(model.net.weight, torch.full((1, 2), 5.0))
    callback.on_train_end(None, model)
    assert torch.equal(model.net.weight, torch.full((1, 2), 2.0))


def test_before_the_first_step_the_weights_are_their_own_average():
    model, callback = averaged([])
    weight = model.net.weight.clone()
    callback.on_validation_epoch_start(None, model)
    callback.on_train_end(None, model)
    assert torch.equal(model.net.weight, weight)
    checkpoint = {"state_dict": model.state_dict()}
    callback.on_save_checkpoint(None, model, checkpoint)
    assert checkpoint.keys() == {"state_dict"}


def test_a_checkpoint_has_both_and_gives_both_back():
    model, callback = averaged([1.0, 5.0])
    checkpoint = {"state_dict": {name: tensor.clone() for name, tensor in model.state_dict().items()}}
    callback.on_save_checkpoint(None, model, checkpoint)
    assert torch.equal(checkpoint["state_dict"]["net.weight"], torch.full((1, 2), 2.0))
    assert torch.equal(checkpoint["current_model_state"]["net.weight"], torch.full((1, 2), 5.0))
    assert checkpoint["state_dict"].keys() == model.state_dict().keys()
    again, other = AveragedWeights(decay=0.75), Module()
    other.load_state_dict(checkpoint["state_dict"])  # as the trainer does first
    again.load_state_dict(callback.state_dict())
    again.on_load_checkpoint(None, other, checkpoint)
    step(again, other, 3, 2.0)
    step(callback, model, 3, 2.0)
    assert torch.equal(again.averages["net.weight"], callback.averages["net.weight"])


def test_a_small_step_of_a_half_weight_is_not_lost():
    model, callback = Module().bfloat16(), AveragedWeights(decay=0.999)
    step(callback, model, 1, 1.0)
    for number in range(2, 200):
        step(callback, model, number, 2.0)
    assert 1.1 < float(callback.averages["net.weight"][0, 0]) < 1.3
