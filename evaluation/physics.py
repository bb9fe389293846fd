"""Whether predicted balls obey the laws that made the truth, and whether any video moves where it should."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.clip import Clip
from components.metrics import ball_parser
from components.metrics.physics import BallTruth, TrackMetric, ball_truth
from components.metrics.physics_bodies import count_error, permanence, size_drift
from components.metrics.physics_iq import PARTS, PhysicsIQ
from components.metrics.physics_laws import (
    energy_error_after,
    energy_error_before,
    energy_gain,
    momentum_error_after,
    momentum_error_before,
)
from components.metrics.physics_motion import (
    mean_velocity_error,
    pass_through,
    phantom_force,
    position_error,
    velocity_error,
    velocity_error_paper,
)
from datamodules.bouncing_balls import WORLDS
from evaluation import Report, Timing

LAWS = (
    velocity_error,
    velocity_error_paper,
    mean_velocity_error,
    position_error,
    momentum_error_before,
    momentum_error_after,
    energy_error_before,
    energy_error_after,
    energy_gain,
    permanence,
    count_error,
    size_drift,
    pass_through,
    phantom_force,
)
PAPER = velocity_error_paper.__name__  # with the paper's parser and its guess for missing balls
BY_WORLD = velocity_error.__name__
SOURCE = "bouncing_balls/"  # how the ids of clips with known laws begin
REGIMES = ("in", "radius_out", "velocity_out", "both_out")


class PhysicsSuite:
    """PhyWorld's protocol on bouncing_balls; on other clips, Physics-IQ's numbers against the true video.

    samples: futures of each context; all count alike.
    horizon: frames to predict, in multiples of those that a training clip has after its context.
    unseen_worlds: worlds that the model was not trained on; each becomes a group `unseen_<world>`.
    Raises: ValueError, in one line for the user.

    Every law comes with `<name>_floor`: what the true video scores, which is the parser's own error; a model
    near it cannot be told from the truth. Frames are judged from the last one of the context on, so that a
    leap at the seam counts. Values that no clip of the group can show (a contact, where there is one ball)
    are left out.
    """

    def __init__(
        self,
        *,
        samples: int = 1,
        horizon: float = 1.0,
        unseen_worlds: list[Literal["uniform", "collision", "parabola"]] | None = None,
    ) -> None:
        if samples < 1 or horizon <= 0:
            raise ValueError(
                f"samples is {samples}, horizon {horizon}; give at least 1 sample, horizon above 0"
            )
        self.samples = samples
        self.horizon = horizon
        self.groups: dict[str, dict[str, object]] = {regime: {"regime": regime} for regime in REGIMES}
        for world in unseen_worlds or []:
            self.groups[f"unseen_{world}"] = {"worlds": [world], "regime": "in"}
        self.agreement = PhysicsIQ()
        self.found, self.floor = (_metrics() for _ in range(2))
        self.futures = 0  # of each context, as fed; 0 until states come

    def update(
        self,
        predicted: Float[Tensor, "b n t 3 h w"],
        truth: Float[Tensor, "b t 3 h w"],
        clip: Clip,
        timing: Timing | None = None,
    ) -> None:
        """Take in n futures of each clip: floats in [0, 1], frames after the context only."""
        self.agreement.to(truth.device)
        if predicted.stride(1) == 0:  # one future, expanded
            predicted = predicted[:, :1]
        for future in predicted.unbind(1):
            self.agreement.update(future, truth)
        if "state" not in clip or not all(name.startswith(SOURCE) for name in clip["id"]):
            return
        self.futures = predicted.shape[1]
        device, last = truth.device, clip["video"].shape[1] - truth.shape[1] - 1
        known = clip["video"][:, last : last + 1].to(truth) / 255
        balls = ball_truth(clip["state"].to(device), 1 / clip["fps"].to(device).double(), first=last)
        world = torch.tensor([list(WORLDS).index(name.split("/")[1]) for name in clip["id"]], device=device)
        self._measure(self.floor, torch.cat((known, truth), dim=1), balls, world)
        for future in predicted.unbind(1):
            self._measure(self.found, torch.cat((known, future), dim=1), balls, world)

    def compute(self) -> Report:
        iq = {name: float(value) for name, value in self.agreement.compute().items()}
        values: dict[str, float] = {}
        notes = [
            "physics_iq: no second takes, so against a perfect repetition; a lower bound, without the "
            "verified score"
        ]
        if self.futures:
            for name in self.found:
                values |= _with_floor(name, self.found[name], self.floor[name])
            values |= _by_world(self.found[BY_WORLD], self.floor[BY_WORLD])
            notes += _unmeasured(self.found[BY_WORLD], self.floor[BY_WORLD], self.futures)
        else:
            notes.append("no simulated states, which data=bouncing_balls has: laws are left out")
        values |= {"physics_iq": iq["score"], "physics_iq_stable": iq["score_stable"]}
        values |= {name: iq[name] for name in PARTS}
        return Report(values=values, notes=notes)

    def reset(self) -> None:
        self.agreement.reset()
        for metric in [*self.found.values(), *self.floor.values()]:
            metric.reset()
        self.futures = 0

    def _measure(
        self,
        metrics: dict[str, TrackMetric],
        video: Float[Tensor, "b t 3 h w"],
        truth: BallTruth,
        world: Int[Tensor, " b"],
    ) -> None:
        tracks = ball_parser.parse_soft(video, softness=0.0)  # radii are only compared among themselves
        paper = ball_parser.parse_paper(video, softness=0.0)
        paper = ball_parser.fill_missing(paper, truth.present)
        for name, metric in metrics.items():
            metric.to(video.device).update(paper if name == PAPER else tracks, truth, world)


def _metrics() -> dict[str, TrackMetric]:
    return {law.__name__: TrackMetric(function=law, groups=len(WORLDS)) for law in LAWS}


def _with_floor(name: str, found: TrackMetric, floor: TrackMetric) -> dict[str, float]:
    least = float(floor.compute())
    return {} if math.isnan(least) else {name: float(found.compute()), f"{name}_floor": least}


def _by_world(found: TrackMetric, floor: TrackMetric) -> dict[str, float]:
    """One pair of values a world, where clips come from several."""
    values, least = found.by_group().tolist(), floor.by_group().tolist()
    there = [i for i in range(len(WORLDS)) if not math.isnan(least[i])]
    if len(there) < 2:
        return {}
    rows = {}
    for i in there:
        world = list(WORLDS)[i]
        rows |= {f"{BY_WORLD}/{world}": values[i], f"{BY_WORLD}/{world}_floor": least[i]}
    return rows


def _unmeasured(found: TrackMetric, floor: TrackMetric, futures: int) -> list[str]:
    share = 1 - found.weights().sum().item() / (futures * floor.weights().sum().item())
    if share <= 0:
        return []
    return [f"{share:.1%} of the velocities could not be measured: a ball was not found (see permanence)"]
