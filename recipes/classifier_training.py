"""The training of success classifiers: weights from which a few successes are enough to know a task."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Optimizer

from components.clip import Clip, ClipSpec
from components.schedules import Schedule
from components.success_classifiers import SuccessClassifier
from recipes.stage import Stage

SUCCESS = "success"  # the column of clips' states


class ClassifierTraining(Stage):
    """Meta-train `classifier`: adapt it to the first frames of a clip, then judge the others.

    A clip is a task. Its first `context_frames` frames are successes; what the others are, its state says.
    The loss is their cross-entropy after adapting, averaged over the tasks of a batch; gradients flow through
    the adapting.
    Source: few-shot goal inference (Xie et al. 2018, arXiv 1810.00482), with 8 tasks a step, 5 successes and
    Adam at 1e-3.
    """

    def __init__(
        self,
        *,
        classifier: SuccessClassifier,
        context_frames: int,
        optimizer: Callable[..., Optimizer],
        learning_rate: Schedule,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        self.classifier, self.context_frames = classifier, context_frames
        self.optimizer, self.learning_rate = optimizer, learning_rate

    def check_fits(self, spec: ClipSpec) -> None:
        if spec.state_names != (SUCCESS,):
            raise ValueError("clips do not tell which frames are successes; take data=success_examples")
        if not 1 <= self.context_frames < spec.num_frames:
            told = f"clips have {spec.num_frames} frames, {self.context_frames} of them to learn by"
            raise ValueError(f"{told}; give at least 1, and leave some to judge")

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        self.set_learning_rate(self.learning_rate(self.steps_taken(batch_index)))
        successes, frames, labels = self.examples(clip)
        logits = self.classifier(successes, frames)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", _right(logits, labels).mean())
        return loss

    def examples(
        self, clip: Clip
    ) -> tuple[Float[Tensor, "b k 3 h w"], Float[Tensor, "b n 3 h w"], Int[Tensor, "b n"]]:
        """Successes to adapt to, frames to judge, and which of these are successes."""
        video = clip["video"].float() / 255
        labels = clip["state"][:, self.context_frames :, 0].long()
        return video[:, : self.context_frames], video[:, self.context_frames :], labels

    def typical_step(self, clip: Clip) -> Tensor:
        """Of clips without states too: before the data is opened nothing is known of these."""
        video = clip["video"].float() / 255
        logits = self.classifier(video[:, : self.context_frames], video[:, self.context_frames :])
        return logits.square().sum()

    def configure_optimizers(self) -> list[Optimizer]:
        return self.with_initial_rate([self.optimizer(self.parameters())])

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        """Log how many frames are judged right: adapted, not adapted, and always the commoner of the two."""
        successes, frames, labels = self.examples(clip)
        after = self.classifier(successes, frames)
        before = self.classifier.logits(frames.flatten(0, 1)).view_as(after)
        share = labels.float().mean(dim=1)
        self.log_validation("loss", F.cross_entropy(after.mT, labels, reduction="none").mean(dim=1))
        self.log_validation("accuracy", _right(after, labels), bar=True)
        self.log_validation("accuracy_before", _right(before, labels))
        self.log_validation("accuracy_guessing", torch.maximum(share, 1 - share))

    def show(self, clip: Clip, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Only the truth: it makes no pictures."""
        return {"truth": clip["video"]}


def _right(logits: Float[Tensor, "b n 2"], labels: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """The share of each task's frames that are judged right."""
    return (logits.argmax(dim=2) == labels).float().mean(dim=1)
