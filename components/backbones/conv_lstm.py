"""Recurrent cells with the gate order and forget bias of the official SAVP code (rnn_ops.py)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.convolutions import initialised, instance_norm, tile


class LSTMState(NamedTuple):
    """Cell and hidden state, both (b, f) or both (b, f, h, w)."""

    cell: Tensor
    hidden: Tensor


class LSTMCell(nn.Module):
    """An LSTM step with one bias and 1 added to the forget gate: (b, i), state -> (b, f), state.

    torch's cell has two biases and another gate order; this one counts and converts like TensorFlow's
    BasicLSTMCell. Gates in the order input, candidate, forget, output.
    """

    def __init__(self, *, in_features: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.gates = nn.Linear(in_features + features, 4 * features)
        nn.init.xavier_uniform_(
            self.gates.weight
        )  # TensorFlow's default: the official cell names no initialiser
        nn.init.zeros_(self.gates.bias)

    def initial_state(self, like: Float[Tensor, "b ..."]) -> LSTMState:
        zeros = like.new_zeros(like.shape[0], self.features)
        return LSTMState(zeros, zeros)

    def forward(self, x: Float[Tensor, "b i"], state: LSTMState) -> tuple[Float[Tensor, "b f"], LSTMState]:
        i, j, f, o = self.gates(torch.cat([x, state.hidden], dim=1)).chunk(4, dim=1)
        cell = state.cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(j)
        hidden = torch.tanh(cell) * torch.sigmoid(o)
        return hidden, LSTMState(cell, hidden)


class ConvLSTMCell(nn.Module):
    """A convolutional LSTM step under instance norm: (b, c, h, w), vector, state -> (b, f, h, w), state.

    One convolution without bias gives all four gates and is normalised as a whole. The new cell state is
    normalised too, and it is the normalised one that is carried on:
        c' = IN(c sigmoid(f + 1) + sigmoid(i) tanh(j)),  h' = tanh(c') sigmoid(o).
    The vector, of `vector_dim` numbers, is laid over every pixel of the convolution's input.
    Source: BasicConv2DLSTMCell of the official SAVP code.
    """

    def __init__(self, *, in_channels: int, channels: int, vector_dim: int = 0, kernel_size: int = 5) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(
            in_channels + vector_dim + channels,
            4 * channels,
            kernel_size,
            padding=kernel_size // 2,
            bias=False,
        )
        initialised(self.gates)
        self.gates_norm = instance_norm(4 * channels)
        self.cell_norm = instance_norm(channels)

    def forward(
        self, x: Float[Tensor, "b c h w"], vector: Float[Tensor, "b v"], state: LSTMState
    ) -> tuple[Float[Tensor, "b f h w"], LSTMState]:
        gates = self.gates_norm(self.gates(torch.cat([x, tile(vector, x), state.hidden], dim=1)))
        i, j, f, o = gates.chunk(4, dim=1)
        cell = self.cell_norm(state.cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(j))
        hidden = torch.tanh(cell) * torch.sigmoid(o)
        return hidden, LSTMState(cell, hidden)
