"""The baseline that is told the actions: behaviour cloning, from a frame and an instruction to the action."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from components.clip import Clip, ClipSpec
from components.frame_codes import views
from components.frame_networks import FrameNetwork
from components.schedules import Schedule
from components.text_encoders import TextEncoder
from recipes.stage import Stage


class BehaviourCloning(Stage):
    """Learn the action that follows a frame in the recordings, by squared error.

    frames: network over the frame in each view, side by side as channels. text_encoder: of instructions.
    Source: the policy with labelled actions that VideoWorld (arXiv 2501.09781, table 2) is compared to, at
    the size of a few convolutions.
    """

    context_frames = 1

    def __init__(
        self,
        *,
        frames: FrameNetwork,
        text_encoder: TextEncoder | None,
        action_dim: int,
        dim: int = 256,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.frames, self.text_encoder = frames, text_encoder
        words = 0 if text_encoder is None else text_encoder.pooled_dim
        self.head = nn.Sequential(
            nn.Linear(frames.dim + words, dim), nn.GELU(),
            nn.Linear(dim, dim), nn.GELU(),
            nn.Linear(dim, action_dim),
        )  # fmt: skip
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def check_fits(self, spec: ClipSpec) -> None:
        if not spec.action_dim:
            raise ValueError("clips have no actions to clone: take data=lerobot")

    def forward(self, clip: Clip) -> Float[Tensor, "b a"]:
        """The actions after the last frames of clips."""
        x = self.frames(torch.cat([video[:, -1] for video in views(clip)], dim=1))
        if self.text_encoder is not None:
            x = torch.cat([x, F.normalize(self.text_encoder(clip["text"]).pooled, dim=-1)], dim=1)
        return self.head(x)

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        loss = self.error(clip).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def error(self, clip: Clip) -> Float[Tensor, " b"]:
        first = clip.copy()
        for key in ("video", "second_video"):
            if key in clip:
                first[key] = clip[key][:, :1]
        return (self(first) - clip["actions"][:, 0]).square().mean(dim=1)

    @torch.no_grad()
    def act(self, context: Clip, *, generator: torch.Generator) -> Float[Tensor, "b a"]:
        """The next action; nothing is drawn."""
        return self(context)

    def typical_step(self, clip: Clip) -> Tensor:
        """Of clips without actions too: before the data is opened nothing is known of these."""
        return self(clip).square().sum()

    def configure_optimizers(self) -> list[Optimizer]:
        return self.with_initial_rate([self.optimizer(self.parameters())])

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log the error of actions beside that of doing nothing."""
        self.log_validation("action_error", self.error(clip), bar=True)
        self.log_validation("action_error_zero", clip["actions"][:, 0].square().mean(dim=1))

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Only the truth: it makes no pictures."""
        return {"truth": clip["video"]}
