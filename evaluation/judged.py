"""A suite as the measurement of a claim: of rollouts of test clips, or of what it asks the model itself."""

from functools import reduce
from typing import Any

import torch

from checkpoints.build import build
from components.randomness import mix
from datamodules.held_out import HeldOutLoader
from evaluation import Asking, Report, Suite


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
        use(model, self.use)
        config, known = model.hparams, model.context_frames
        horizon = self.horizon or config["clip"]["num_frames"] - known
        source = build(config["data"] | {"num_frames": known + horizon} | self.data)
        self.suite.reset()
        test = HeldOutLoader(source.split("test"), batch_size=self.batch_size, num_clips=self.clips)
        for number, clip in enumerate(test):
            context, truth = model.split(clip)
            generator = torch.Generator(model.device).manual_seed(mix(0, number))
            made = [model.predict(context, horizon, generator=generator) for _ in range(self.suite.samples)]
            self.suite.update(torch.stack(made, dim=1), truth, clip)
        found = self.suite.compute().values
        return {self.name + value: found[value] for value in self.values}


class Asked:
    """Values of a suite that asks the model itself, each told as `name` + it.

    use: attributes of the model while it is asked, as history_noise.test, by dotted names.
    """

    def __init__(
        self, *, suite: Asking, metrics: list[str], name: str = "", use: dict[str, Any] | None = None
    ) -> None:
        self.suite, self.values, self.name, self.use = suite, metrics, name, use or {}

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.name + value for value in self.values)

    def __call__(self, model: Any) -> dict[str, float]:
        use(model, self.use)
        found = self.suite(model)
        values = found.values if isinstance(found, Report) else found
        return {self.name + value: values[value] for value in self.values}


def use(model: Any, changes: dict[str, Any]) -> None:
    """Set attributes of a model and its parts, by dotted names; each has to be there."""
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        owner = reduce(getattr, parents, model)
        getattr(owner, leaf)
        setattr(owner, leaf, value)
