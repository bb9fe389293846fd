"""LSTMs over codes: the frame predictor, and the sequences of latents."""

import pytest
import torch
from torch import nn

from components.backbones.lstm_stack import LSTMStack
from components.code_predictors.code_lstm import CodeLSTM
from components.latent_sequences import LatentSequence
from components.latent_sequences.gaussian_lstm import GaussianLSTM
from components.latent_sequences.standard_normal import StandardNormal


def test_a_stack_stepped_by_hand_is_torchs_lstm():
    stack = LSTMStack(in_features=3, features=5, num_layers=2).double()
    whole = nn.LSTM(5, 5, num_layers=2, batch_first=True).double()
    for layer, cell in enumerate(stack.cells):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(whole, f"{name}_l{layer}").data = getattr(cell, name).data
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    state, outputs = stack.initial_state(x), []
    for each in x.unbind(1):
        hidden, state = stack(each, state)
        outputs.append(hidden)
    expected, (hidden, cell) = whole(stack.embed(x))
    torch.testing.assert_close(torch.stack(outputs, dim=1), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack([layer.hidden for layer in state]), hidden, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack([layer.cell for layer in state]), cell, rtol=0, atol=1e-12)


@pytest.mark.parametrize("action_dim", [0, 2])
def test_the_next_code_hears_the_latent_the_action_and_the_past(action_dim):
    predictor = CodeLSTM(code_dim=4, latent_dim=3, action_dim=action_dim, hidden_dim=8)
    given = {"latent": torch.randn(2, 3), "action": torch.randn(2, action_dim) if action_dim else None}
    codes = torch.randn(2, 2, 4)

    def second(first_code, latent, action):
        _, state = predictor.step(first_code, predictor.initial_state(codes), **given)
        return predictor.step(codes[:, 1], state, latent=latent, action=action)[0]

    before = second(codes[:, 0], **given)
    assert before.shape == (2, 4)
    assert before.abs().max() < 1
    assert not torch.equal(before, second(codes[:, 0] + 1, **given))
    assert not torch.equal(before, second(codes[:, 0], given["latent"] + 1, given["action"]))
    if action_dim:
        assert not torch.equal(before, second(codes[:, 0], given["latent"], given["action"] + 1))


@pytest.mark.parametrize(
    "part",
    [CodeLSTM(code_dim=4, latent_dim=3, action_dim=2), GaussianLSTM(code_dim=4, latent_dim=3, action_dim=2)],
)
@pytest.mark.parametrize("action", [None, torch.zeros(1, 3)])
def test_actions_of_another_size_are_one_clear_line(part, action):
    code = torch.zeros(1, 4)
    extra = {"latent": torch.zeros(1, 3)} if isinstance(part, CodeLSTM) else {}
    with pytest.raises(ValueError, match=f"built for 2 actions, it was given {0 if action is None else 3}"):
        part.step(code, part.initial_state(code), action=action, **extra)


@pytest.mark.parametrize("sequence", [GaussianLSTM(code_dim=4, latent_dim=3), StandardNormal(latent_dim=3)])
def test_latent_sequences_read_the_past_alone(sequence):
    assert isinstance(sequence, LatentSequence)
    codes = torch.randn(2, 5, 4)

    def means(codes):
        state, found = sequence.initial_state(codes), []
        for code in codes.unbind(1):
            latent, state = sequence.step(code, state)
            assert latent.mean.shape == latent.log_variance.shape == (2, 3)
            found.append(latent.mean)
        return torch.stack(found, dim=1)

    before = means(codes)
    codes[:, 2] += 1
    moved = (means(codes) - before).abs().amax(dim=(0, 2)) > 0
    assert moved.tolist() == (
        [False] * 5 if isinstance(sequence, StandardNormal) else [False] * 2 + [True] * 3
    )


def test_the_standard_normal_is_one():
    latent, _ = StandardNormal(latent_dim=3).step(torch.randn(2, 4), None)
    assert not latent.mean.any()
    assert not latent.log_variance.any()
