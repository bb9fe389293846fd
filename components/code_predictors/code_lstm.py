"""SVG's frame predictor: the next frame's code from this one's."""

from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.lstm_stack import LSTMStack, StackState, joined
from components.first_weights import normal_initialise


class CodeLSTM(nn.Module):
    """The next code, in [-1, 1], from this code, the latent and the action between, and all before.

    Raises ValueError for an action missing or of another size.
    Source: SVG (arXiv 1802.07687), lstm of the official code; actions are joined to its input.
    """

    def __init__(
        self,
        *,
        code_dim: int,
        latent_dim: int,
        action_dim: int = 0,
        hidden_dim: int = 256,
        num_layers: int = 2,
    ) -> None:
        super().__init__()
        self.latent_dim, self.action_dim = latent_dim, action_dim
        inputs = code_dim + latent_dim + action_dim
        self.lstm = LSTMStack(in_features=inputs, features=hidden_dim, num_layers=num_layers)
        self.output = nn.Linear(hidden_dim, code_dim)
        normal_initialise(self)

    def initial_state(self, like: Float[Tensor, "b ..."]) -> StackState:
        return self.lstm.initial_state(like)

    def step(
        self,
        code: Float[Tensor, "b g"],
        state: StackState,
        *,
        latent: Float[Tensor, "b z"],
        action: Float[Tensor, "b a"] | None = None,
    ) -> tuple[Float[Tensor, "b g"], StackState]:
        hidden, state = self.lstm(joined([code, latent], action, self.action_dim), state)
        return self.output(hidden).tanh(), state
