"""Acting out what a model of video says comes next, by inverse dynamics."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from components.clip import Clip
from policies import Scene
from policies.camera import CameraEpisode


class InverseDynamicsControl:
    """Let the model write what comes next, then do what leads there, and look again.

    The model never sees an action. One that writes codes (`next_frame`) is asked for codes, frame or both, as
    the inverse dynamics reads them; any other one for the next frame of its rollout.

    inverse: a run, or a file of weights, of recipes.inverse_training; null = the stage `inverse` of the run
    that the checkpoint lies in. cameras: what is seen, the first of them by the model's own view.
    samples: futures that are written at a time; what is done is the mean of what leads to each.
    temperature: of what is written, null = as the model samples; 1 lets samples differ as the model doubts.
    Raises ValueError for fewer than 1 sample.
    Source: VideoWorld (arXiv 2501.09781), section 3.3; it executes one action of each frame that it writes.
    Several samples are ours.
    """

    needs_model = True
    needs_snapshot = False

    def __init__(
        self,
        *,
        inverse: str | None = None,
        cameras: tuple[str, ...] = ("static",),
        samples: int = 1,
        temperature: float | None = None,
    ) -> None:
        if samples < 1:
            raise ValueError(f"samples is {samples}; give at least 1")
        self.inverse, self.cameras = inverse, tuple(cameras)
        self.samples, self.temperature = samples, temperature
        self._known: dict[Path, Any] = {}

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "InverseEpisode":
        """Raises ValueError where there is no inverse dynamics, or one of other actions or for codes."""
        inverse = self.trained(model)
        if inverse.inverse.reads_codes and not hasattr(model, "next_frame"):
            told = f"inverse dynamics reads codes, and {type(model).__name__} writes none"
            raise ValueError(f"{told}; take one that reads frames alone")
        width = inverse.hparams["clip"]["action_dim"]
        return InverseEpisode(model, scene, inverse, self, width=width, seed=seed)

    def trained(self, model: Any) -> Any:
        """The inverse dynamics that goes with a model, loaded once."""
        from checkpoints.own import CheckpointError
        from recipes.inverse_training import InverseTraining

        path = Path(self.inverse) if self.inverse else beside(model.loaded_from)
        if path not in self._known:
            try:
                self._known[path] = InverseTraining.load(path).to(model.device)
            except CheckpointError as error:
                raise ValueError(f"policy.inverse: {error}") from None
        return self._known[path]


def beside(weights: Path | None) -> Path:
    """The stage `inverse` of the run that a file of weights lies in.

    Raises ValueError where there is none.
    """
    for folder in [] if weights is None else weights.parents:
        if (folder / "run.json").is_file() and (folder / "inverse").is_dir():
            return folder / "inverse"
    raise ValueError("no inverse dynamics beside the checkpoint; give policy.inverse=RUN")


class InverseEpisode(CameraEpisode):
    def __init__(
        self, model: Any, scene: Scene, inverse: Any, policy: InverseDynamicsControl, *, width: int, seed: int
    ) -> None:
        super().__init__(model, scene, cameras=policy.cameras, width=width, seed=seed)
        self.inverse, self.policy = inverse, policy

    def decide(self, context: Clip) -> Float[Tensor, "1 a"]:
        context = repeated(context, self.policy.samples)
        videos = [context[key] for key in ("video", "second_video") if key in context]
        now = torch.stack([video[:, -1] for video in videos], dim=1).float() / 255
        reads = self.inverse.inverse
        if hasattr(self.model, "next_frame"):
            heat = self.policy.temperature
            then, codes = self.model.next_frame(
                context, self.generator, temperature=heat, draw=reads.reads_next
            )
        else:
            then, codes = self.model.predict(context, 1, generator=self.generator), None
        actions = self.inverse.action(now, then, codes if reads.reads_codes else None)
        return actions.mean(dim=0, keepdim=True)


def repeated(context: Clip, times: int) -> Clip:
    """A clip of one as a batch of the same."""
    clip = Clip(text=context["text"] * times)
    for key in ("video", "second_video"):
        if key in context:
            clip[key] = context[key].expand(times, -1, -1, -1, -1)
    return clip
