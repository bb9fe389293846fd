"""SVG's prior and posterior: LSTMs with Gaussian outputs."""

from jaxtyping import Float
from torch import Tensor, nn

from components.backbones.lstm_stack import LSTMStack, StackState, joined
from components.first_weights import normal_initialise
from components.gaussian import DiagonalGaussian


class GaussianLSTM(nn.Module):
    """N(mean, variance) of each step's latent from the codes and actions read so far.

    Raises ValueError for an action missing or of another size.
    Source: SVG (arXiv 1802.07687), gaussian_lstm of the official code; actions are joined to its input.
    """

    def __init__(
        self,
        *,
        code_dim: int,
        latent_dim: int,
        action_dim: int = 0,
        hidden_dim: int = 256,
        num_layers: int = 1,
    ) -> None:
        super().__init__()
        self.latent_dim, self.action_dim = latent_dim, action_dim
        self.lstm = LSTMStack(in_features=code_dim + action_dim, features=hidden_dim, num_layers=num_layers)
        self.mean = nn.Linear(hidden_dim, latent_dim)
        self.log_variance = nn.Linear(hidden_dim, latent_dim)
        normal_initialise(self)

    def initial_state(self, like: Float[Tensor, "b ..."]) -> StackState:
        return self.lstm.initial_state(like)

    def step(
        self, code: Float[Tensor, "b g"], state: StackState, *, action: Float[Tensor, "b a"] | None = None
    ) -> tuple[DiagonalGaussian, StackState]:
        hidden, state = self.lstm(joined([code], action, self.action_dim), state)
        return DiagonalGaussian(self.mean(hidden), self.log_variance(hidden)), state
