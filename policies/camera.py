"""Episodes of policies that see through cameras and act as a model says."""

from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from components.clip import Clip
from policies import Observation, Scene


class CameraEpisode(ABC):
    """Look, decide, carry out, look again.

    Where a clip of the model takes every k-th frame, one of its actions is k of the environment's: all of
    them are carried out before the next look. cameras: the first by the model's own view.
    Raises ValueError for actions of `width` numbers that are not k of the environment's.
    """

    def __init__(self, model: Any, scene: Scene, *, cameras: tuple[str, ...], width: int, seed: int) -> None:
        if width % scene.action_width:
            told = f"the model has actions of {width} numbers, the environment of {scene.action_width}"
            raise ValueError(f"{told}; it was trained on another one")
        self.model, self.scene = model, scene
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.seen: dict[str, deque[Tensor]] = {name: deque(maxlen=model.context_frames) for name in cameras}
        self.parts: deque[np.ndarray] = deque()  # of the action under way

    @abstractmethod
    def decide(self, context: Clip) -> Float[Tensor, "1 a"]:
        """The model's next action; context: a batch of one, of what was seen and the instruction."""

    @torch.no_grad()
    def act(self, observation: Observation, snapshot: Any) -> Float32[np.ndarray, " a"]:
        if not self.parts:
            for name, frames in self.seen.items():
                frames.append(picture(observation[name], self.model.device))
            action = self.decide(self.context())[0].clamp(-1.0, 1.0)
            self.parts.extend(action.cpu().numpy().reshape(-1, self.scene.action_width))
        return self.parts.popleft()

    def context(self) -> Clip:
        videos = [torch.stack(list(frames))[None] for frames in self.seen.values()]
        clip = Clip(video=videos[0], text=[self.scene.text])
        if len(videos) > 1:
            clip["second_video"] = videos[1]
        return clip


def picture(image: UInt8[np.ndarray, "h w 3"], device: torch.device) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(image).movedim(2, 0).to(device)
