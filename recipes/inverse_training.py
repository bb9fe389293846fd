"""The training of inverse dynamics: from clips whose actions are known, what leads from frame to frame."""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer

from components.clip import Clip, ClipSpec
from components.frame_codes import views
from components.inverse_dynamics import InverseDynamics
from components.latent_dynamics import LatentDynamics
from components.schedules import Schedule
from recipes.stage import Stage


class InverseTraining(Stage):
    """Train `inverse` on the first two frames of clips and on what `dynamics` writes between them.

    dynamics: trained before, and left as it is; None = no codes.
    Raises ValueError for inverse dynamics that reads codes where nothing writes any.
    Source: VideoWorld (arXiv 2501.09781), section 3.3 and supplement A: squared error, true frames and codes
    in training, generated ones in acting.
    """

    sharded_calls: ClassVar = {"dynamics": ("encode", "lookup")}
    context_frames = 1

    def __init__(
        self,
        *,
        inverse: InverseDynamics,
        dynamics: LatentDynamics | None,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        if inverse.reads_codes and dynamics is None:
            raise ValueError("inverse dynamics reads codes, and nothing writes any: set dynamics")
        self.inverse = inverse
        self.dynamics = None if dynamics is None else dynamics.requires_grad_(False).eval()
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def check_fits(self, spec: ClipSpec) -> None:
        if not spec.action_dim or spec.num_frames < 2:
            told = f"clips have {spec.num_frames} frames and {spec.action_dim} numbers of action"
            raise ValueError(f"{told}; inverse dynamics is learned from 2 frames and the action between them")

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        loss = F.mse_loss(self.between(clip), clip["actions"][:, 0])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def between(self, clip: Clip) -> Float[Tensor, "b a"]:
        """The actions that lead from the first frames to the second."""
        videos = views(clip)
        codes = None
        if self.inverse.reads_codes and self.dynamics is not None:
            codes = self.dynamics.encode(videos[0][:, : self.dynamics.horizon + 1])
        pairs = [torch.stack([video[:, i] for video in videos], dim=1) for i in (0, 1)]
        return self.action(pairs[0], pairs[1], codes)

    def action(
        self,
        now: Float[Tensor, "b v 3 h w"],
        then: Float[Tensor, "b v 3 h w"] | None,
        codes: Int[Tensor, "b m"] | None,
    ) -> Float[Tensor, "b a"]:
        """The action that leads from frames to the next ones and to what the codes say.

        then, codes: may be None where the inverse dynamics does not read them.
        """
        seen = [now, then] if self.inverse.reads_next and then is not None else [now]
        frames = torch.cat(seen, dim=1).flatten(1, 2) if self.inverse.reads_frames else None
        meanings = None
        if codes is not None and self.dynamics is not None:
            meanings = self.dynamics.lookup(codes)
        return self.inverse(frames, meanings)

    def train(self, mode: bool = True) -> "InverseTraining":
        super().train(mode)
        if self.dynamics is not None:
            self.dynamics.eval()
        return self

    def typical_step(self, clip: Clip) -> Tensor:
        """Of clips without actions too: before the data is opened nothing is known of these."""
        return self.between(clip).square().sum()

    def configure_optimizers(self) -> list[Optimizer]:
        return self.with_initial_rate([self.optimizer(self.inverse.parameters())])

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log the error of actions beside that of doing nothing."""
        truth = clip["actions"][:, 0]
        error = (self.between(clip) - truth).square().mean(dim=1)
        self.log_validation("action_error", error, bar=True)
        self.log_validation("action_error_zero", truth.square().mean(dim=1))

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Only the truth: it makes no pictures."""
        return {"truth": clip["video"]}
