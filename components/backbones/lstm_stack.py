"""LSTM cells one above the other, stepped by hand."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.conv_lstm import LSTMState

StackState = tuple[LSTMState, ...]


class LSTMStack(nn.Module):
    """A linear layer, then LSTM cells, each fed by the one below: (b, i), state -> (b, f), state.

    Cells are torch's, with its first weights. Source: the trunk of both LSTMs of the official SVG code.
    """

    def __init__(self, *, in_features: int, features: int, num_layers: int) -> None:
        super().__init__()
        self.features = features
        self.embed = nn.Linear(in_features, features)
        self.cells = nn.ModuleList(nn.LSTMCell(features, features) for _ in range(num_layers))

    def initial_state(self, like: Float[Tensor, "b ..."]) -> StackState:
        zeros = like.new_zeros(len(like), self.features)
        return (LSTMState(zeros, zeros),) * len(self.cells)

    def forward(self, x: Float[Tensor, "b i"], state: StackState) -> tuple[Float[Tensor, "b f"], StackState]:
        x, after = self.embed(x), []
        for cell, before in zip(self.cells, state, strict=True):
            x, memory = cell(x, (before.hidden, before.cell))
            after.append(LSTMState(memory, x))
        return x, tuple(after)


def joined(
    parts: list[Float[Tensor, "b _"]], action: Float[Tensor, "b a"] | None, action_dim: int
) -> Float[Tensor, "b i"]:
    """All that a step is given as one vector. Raises ValueError for an action missing or of another size."""
    given = 0 if action is None else action.shape[1]
    if given != action_dim:
        raise ValueError(f"the LSTM was built for {action_dim} actions, it was given {given}")
    return torch.cat(parts if action is None else [*parts, action], dim=1)
