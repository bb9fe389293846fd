"""Measurements for claims, KnownFutures on data whose valid futures are known (datamodules/fork.py).

A claim's `measure` names one of them; it judges a trained model on test clips of the data it was trained on.
The result is a function of the weights and of the run's seed alone.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import MeanMetric

from checkpoints.build import build
from components.clip import Clip
from components.metrics.psnr import psnr
from components.randomness import mix
from datamodules.batches import collate
from recipes.world_model import WorldModel, pixels

Samples = Float[Tensor, "b n t 3 h w"]  # n sampled futures of each context
Futures = Float[Tensor, "b m t 3 h w"]  # the m valid ones


class KnownFutures:
    """Judge many samples of a context against all of its valid futures.

    best_psnr, mean_psnr: dB, of the sample with the best time mean, and of all.
    coverage: share of contexts of which every valid future is the nearest to some sample.
    distance: per-pixel L1 from a sample to its nearest valid future.
    gradient_ratio: energy of spatial gradients of samples over that of their nearest futures, in the part of
        the picture that some valid future changes. gradient_gap: how far that is from 1.
    diversity: per-pixel L1 between two samples of a context.
    Source: SAVP's best of n, and its diversity (arXiv 1804.01523, section 4.2), pixel by pixel.
    """

    metrics = (
        "best_psnr",
        "mean_psnr",
        "coverage",
        "distance",
        "gradient_ratio",
        "gradient_gap",
        "diversity",
    )

    def __init__(
        self, *, samples: int = 20, clips: int = 48, horizon: int | None = None, batch_size: int = 4
    ) -> None:
        if samples < 2:
            raise ValueError(f"samples is {samples}; diversity needs at least 2")
        self.samples, self.clips, self.horizon, self.batch_size = samples, clips, horizon, batch_size

    @torch.no_grad()
    def __call__(self, model: WorldModel) -> dict[str, float]:
        names = ("best_psnr", "mean_psnr", "coverage", "distance", "diversity", "energy", "wanted")
        means = {name: MeanMetric() for name in names}
        horizon = self.horizon or _trained_horizon(model)
        for clip, futures, generator in _batches(model, self.clips, horizon, self.batch_size):
            context, truth = model.split(clip)
            samples = _sample(model, context, horizon, self.samples, generator)
            scores = torch.stack([psnr(sample, truth).mean(dim=1) for sample in samples.unbind(1)])
            means["best_psnr"].update(scores.amax(dim=0))
            means["mean_psnr"].update(scores)
            apart = distances(samples, futures)
            means["distance"].update(apart.amin(dim=2))
            means["coverage"].update(covered(apart).float())
            means["diversity"].update((samples[:, 1:] - samples[:, :-1]).abs().mean(dim=(2, 3, 4, 5)))
            means["energy"].update(gradient_energy(samples, changing(futures)))
            nearest = torch.stack([f[i] for f, i in zip(futures, apart.argmin(dim=2), strict=True)])
            means["wanted"].update(gradient_energy(nearest, changing(futures)))
        found = {name: float(mean.compute()) for name, mean in means.items()}
        ratio = found.pop("energy") / found.pop("wanted")
        return found | {"gradient_ratio": ratio, "gradient_gap": abs(1.0 - ratio)}


class PsnrAt:
    """PSNR in dB of one future at chosen frames after the context, also beyond the trained horizon."""

    def __init__(self, *, steps: list[int], clips: int = 64, batch_size: int = 16) -> None:
        if not steps or min(steps) < 1:
            raise ValueError(f"steps are {steps}; the first frame after the context is step 1")
        self.steps, self.clips, self.batch_size = steps, clips, batch_size
        self.metrics = tuple(f"psnr_{step}" for step in steps)

    @torch.no_grad()
    def __call__(self, model: WorldModel) -> dict[str, float]:
        means = {step: MeanMetric() for step in self.steps}
        horizon = max(self.steps)
        for clip, generator in _clips(model, self.clips, horizon, self.batch_size):
            context, truth = model.split(clip)
            scores = psnr(model.predict(context, horizon, generator=generator), truth)
            for step, mean in means.items():
                mean.update(scores[:, step - 1])
        return {f"psnr_{step}": float(mean.compute()) for step, mean in means.items()}


class FollowedActions:
    """Whether predictions follow the actions: PSNR in dB with the true ones, another clip's, and zeros.

    Only actions after the context are changed. drop_shuffled and drop_zeroed: what is lost by it.
    """

    metrics = ("psnr", "psnr_shuffled", "psnr_zeroed", "drop_shuffled", "drop_zeroed")

    def __init__(self, *, clips: int = 64, batch_size: int = 16) -> None:
        if batch_size < 2 or clips % batch_size == 1:
            raise ValueError(f"{clips} clips by {batch_size}: actions are exchanged among 2 clips or more")
        self.clips, self.batch_size = clips, batch_size

    @torch.no_grad()
    def __call__(self, model: WorldModel) -> dict[str, float]:
        means = {name: MeanMetric() for name in self.metrics[:3]}
        horizon = _trained_horizon(model)
        for clip, generator in _clips(model, self.clips, horizon, self.batch_size):
            context, truth = model.split(clip)
            start, past = generator.get_state(), model.context_frames - 1
            for name, change in (
                ("psnr", _same),
                ("psnr_shuffled", _exchange),
                ("psnr_zeroed", torch.zeros_like),
            ):
                actions = torch.cat([clip["actions"][:, :past], change(clip["actions"][:, past:])], dim=1)
                generator.set_state(start)  # the same noise for all three
                future = model.predict(context | {"actions": actions}, horizon, generator=generator)
                means[name].update(psnr(future, truth))
        found = {name: float(mean.compute()) for name, mean in means.items()}
        drops = {f"drop_{name}": found["psnr"] - found[f"psnr_{name}"] for name in ("shuffled", "zeroed")}
        return found | drops


class Tracking:
    """Error in pixels of a designated pixel, begun at the disc's centre and followed by `track`.

    tracking_error: between the most likely pixel and where it truly went, over all frames and clips.
    tracking_error_last: at the last frame.
    Source: designated pixels of Visual Foresight (arXiv 1812.00568, section 5).
    """

    metrics = ("tracking_error", "tracking_error_last")

    def __init__(self, *, clips: int = 64, batch_size: int = 16) -> None:
        self.clips, self.batch_size = clips, batch_size

    @torch.no_grad()
    def __call__(self, model: WorldModel) -> dict[str, float]:
        track: Any = getattr(model, "track", None)
        if track is None:
            raise ValueError(f"Tracking needs a model with `track`; {type(model).__name__} has none")
        means = {name: MeanMetric() for name in self.metrics}
        horizon, last = _trained_horizon(model), model.context_frames - 1
        for clip, generator in _clips(model, self.clips, horizon, self.batch_size):
            context, _ = model.split(clip)
            h, w = clip["video"].shape[-2:]
            begin = clip["state"][:, : last + 1].round().long()  # b c 2: x, y
            maps = track(context, horizon, _maps(begin, h, w), generator=generator)[:, :, 0]
            place = maps.flatten(-2).argmax(dim=-1)
            found = torch.stack([place % w, place // w], dim=-1)
            went = begin[:, last:] + clip["state"][:, last + 1 :] - clip["state"][:, last : last + 1]
            error = (found - went).norm(dim=-1)
            means["tracking_error"].update(error)
            means["tracking_error_last"].update(error[:, -1])
        return {name: float(mean.compute()) for name, mean in means.items()}


def distances(samples: Samples, futures: Futures) -> Float[Tensor, "b n m"]:
    """Mean absolute difference over pixels and time of every sample from every valid future."""
    apart = [(samples - future[:, None]).abs().mean(dim=(2, 3, 4, 5)) for future in futures.unbind(1)]
    return torch.stack(apart, dim=2)


def covered(apart: Float[Tensor, "b n m"]) -> Bool[Tensor, " b"]:
    """Whether each valid future is the nearest one of at least one sample."""
    nearest = torch.nn.functional.one_hot(apart.argmin(dim=2), apart.shape[2])
    return nearest.any(dim=1).all(dim=1)


def changing(futures: Futures) -> Bool[Tensor, "b 1 1 1 h w"]:
    """Pixels that differ between two frames of the valid futures."""
    apart = futures.amax(dim=(1, 2)) - futures.amin(dim=(1, 2))
    return (apart > 0).any(dim=1)[:, None, None, None]


def gradient_energy(
    video: Float[Tensor, "b n t 3 h w"], where: Bool[Tensor, "b 1 1 1 h w"]
) -> Float[Tensor, ""]:
    """Sum of squared differences to the pixel on the right and the pixel below."""
    across = (video[..., :, 1:] - video[..., :, :-1]).square() * where[..., :, 1:]
    down = (video[..., 1:, :] - video[..., :-1, :]).square() * where[..., 1:, :]
    return across.sum() + down.sum()


def _batches(
    model: WorldModel, clips: int, horizon: int, batch_size: int
) -> Iterator[tuple[Clip, Futures, torch.Generator]]:
    """Test clips of context and horizon, their valid futures after the context, and a generator for each."""
    source = _source(model, horizon)
    if not hasattr(source, "futures"):
        raise ValueError(f"{type(source).__name__} does not know its valid futures; use data=fork")
    first = 0
    for clip, generator in _clips(model, clips, horizon, batch_size):
        indices = range(first, first + len(clip["video"]))
        futures = torch.stack([source.futures("test", i) for i in indices])
        yield clip, pixels(futures[:, :, model.context_frames :]), generator
        first += len(clip["video"])


def _clips(
    model: WorldModel, clips: int, horizon: int, batch_size: int
) -> Iterator[tuple[Clip, torch.Generator]]:
    """Test clips of context and horizon, and a generator for each batch."""
    dataset, seed = _source(model, horizon).split("test"), model.hparams["seed"]
    for start in range(0, clips, batch_size):
        clip = collate([dataset[i] for i in range(start, min(start + batch_size, clips))])
        yield clip, torch.Generator().manual_seed(mix(seed, start))


def _source(model: WorldModel, horizon: int) -> Any:
    config: Any = model.hparams
    return build(config["data"] | {"num_frames": model.context_frames + horizon})


def _sample(model: WorldModel, context: Clip, horizon: int, n: int, generator: torch.Generator) -> Samples:
    """n futures of each context, as one batch."""
    many: Any = {key: _repeat(value, n) for key, value in context.items()}
    return model.predict(many, horizon, generator=generator).unflatten(0, (-1, n))


def _repeat(value: Any, n: int) -> Any:
    if isinstance(value, Tensor):
        return value.repeat_interleave(n, dim=0)
    if isinstance(value, dict):
        return {key: _repeat(part, n) for key, part in value.items()}
    return [part for part in value for _ in range(n)]


def _trained_horizon(model: WorldModel) -> int:
    config: Any = model.hparams
    return config["clip"]["num_frames"] - model.context_frames


def _same(actions: Tensor) -> Tensor:
    return actions


def _exchange(actions: Tensor) -> Tensor:
    return actions.roll(1, dims=0)


def _maps(places: Int[Tensor, "b c 2"], height: int, width: int) -> Float[Tensor, "b c 1 h w"]:
    """One at a place (x, y) and zero elsewhere."""
    index = places[..., 1].clamp(0, height - 1) * width + places[..., 0].clamp(0, width - 1)
    return torch.nn.functional.one_hot(index, height * width).float().unflatten(-1, (1, height, width))
