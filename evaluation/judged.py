"""A suite as the measurement of a claim: rollouts of test clips, judged."""

from functools import reduce
from typing import Any

import torch

from checkpoints.build import build
from components.randomness import mix
from datamodules.held_out import HeldOutLoader
from evaluation import Suite


class Judged:
    """Values of a suite on a model's rollouts; of seed 0 whatever the model's.

    suite: the judge. metrics: which of its values, each told as `name` + it. clips: of the test split.
    horizon: frames to predict; null = as in training. use: attributes of the model while it is judged, as
    history_noise.test, by dotted names. data: arguments of the data source that are others than in training.
    """

    def __init__(
        self,
        *,
        suite: Suite,
        metrics: list[str],
        name: str = "",
        clips: int = 32,
        batch_size: int = 16,
        horizon: int | None = None,
        use: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        if min(clips, batch_size, 1 if horizon is None else horizon) < 1:
            told = f"clips {clips}, batch_size {batch_size}, horizon {horizon}"
            raise ValueError(f"{told}; give at least 1")
        self.suite, self.values, self.name = suite, metrics, name
        self.clips, self.batch_size, self.horizon = clips, batch_size, horizon
        self.use, self.data = use or {}, data or {}

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.name + value for value in self.values)

    def __call__(self, model: Any) -> dict[str, float]:
        config, known = model.hparams, model.context_frames
        horizon = self.horizon or config["clip"]["num_frames"] - known
        source = build(config["data"] | {"num_frames": known + horizon} | self.data)
        for key, value in self.use.items():
            *parents, leaf = key.split(".")
            owner = reduce(getattr, parents, model)
            getattr(owner, leaf)  # or it is not there
            setattr(owner, leaf, value)
        self.suite.reset()
        test = HeldOutLoader(source.split("test"), batch_size=self.batch_size, num_clips=self.clips)
        for number, clip in enumerate(test):
            context, truth = model.split(clip)
            generator = torch.Generator(model.device).manual_seed(mix(0, number))
            made = [model.predict(context, horizon, generator=generator) for _ in range(self.suite.samples)]
            self.suite.update(torch.stack(made, dim=1), truth, clip)
        found = self.suite.compute().values
        return {self.name + value: found[value] for value in self.values}
