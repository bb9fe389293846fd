"""Acting as a model says that has learned actions itself, as behaviour cloning has."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from components.clip import Clip
from policies import Scene
from policies.camera import CameraEpisode


class Reactive:
    """From what is seen to the action, without looking ahead; the model has `act(context, generator=)`.

    cameras: what is seen, the first by the model's own view.
    """

    needs_model = True
    needs_snapshot = False

    def __init__(self, *, cameras: tuple[str, ...] = ("static",)) -> None:
        self.cameras = tuple(cameras)

    def begin(self, model: Any, scene: Scene, *, seed: int) -> "ReactiveEpisode":
        """Raises ValueError for a model that has learned no actions, or others than the environment's."""
        if not hasattr(model, "act"):
            told = f"{type(model).__name__} has learned no actions of its own"
            raise ValueError(f"{told}; take policy=inverse_dynamics or policy=model_control")
        width = model.hparams["clip"]["action_dim"]
        return ReactiveEpisode(model, scene, cameras=self.cameras, width=width, seed=seed)


class ReactiveEpisode(CameraEpisode):
    def decide(self, context: Clip) -> Float[Tensor, "1 a"]:
        return self.model.act(context, generator=self.generator)
