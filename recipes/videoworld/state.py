"""The baseline that is told the state: a transformer from a board's points to a move, without any pixels."""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer

from components.backbones import TokenDecoder
from components.clip import Clip, ClipSpec
from components.samplers.next_token import NextToken
from components.schedules import Schedule
from components.vocabularies.table import Table
from recipes.stage import Stage


class StateTransformer(Stage):
    """Learn the action that follows a state, both of them whole numbers: state tokens in, one action id out.

    num_values: values that a number of the state takes, from 0. num_actions: ids of actions, from 0.
    Source: VideoWorld (arXiv 2501.09781), table 1, the transformer on states.
    """

    sharded_calls: ClassVar = {"table": ("embed", "logits", "loss")}

    def __init__(
        self,
        *,
        decoder: TokenDecoder,
        num_values: int,
        num_actions: int,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.decoder, self.num_values, self.num_actions = decoder, num_values, num_actions
        self.table = Table(size=num_values + num_actions, dim=decoder.dim)
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def check_fits(self, spec: ClipSpec) -> None:
        if not spec.state_dim or spec.action_dim != 1:
            told = f"clips have {spec.state_dim} numbers of state and {spec.action_dim} of action"
            raise ValueError(
                f"{told}; this baseline learns a state of whole numbers and one action id: data=go"
            )

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        hidden = self.read(clip["state"][:, 0])
        ids = clip["actions"][:, :1, 0].long() + self.num_values
        everywhere = torch.ones_like(ids, dtype=torch.bool)
        loss = self.table.loss(hidden[:, -1:], ids, hidden.new_ones(ids.shape), everywhere) / len(ids)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def read(self, state: Float[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
        return self.decoder(self.table.embed(state.long()))

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        generator = torch.Generator(self.device).manual_seed(self.seed)
        chosen = self.moves(clip["state"][:, 0], generator, temperature=0.0)
        self.log_validation("accuracy", (chosen == clip["actions"][:, 0, 0].long()).float(), bar=True)

    @torch.no_grad()
    def moves(
        self, state: Float[Tensor, "b s"], generator: torch.Generator, *, temperature: float
    ) -> Int[Tensor, " b"]:
        """An action for each state; temperature 0 takes the likeliest."""
        actions = slice(self.num_values, self.num_values + self.num_actions)
        logits = self.table.logits(self.read(state)[:, -1], actions)
        return NextToken(temperature=temperature).draw(logits, generator)

    def configure_optimizers(self) -> list[Optimizer]:
        return self.with_initial_rate([self.optimizer(self.parameters())])

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Only the truth: it has no pictures of its own."""
        return {"truth": clip["video"]}
