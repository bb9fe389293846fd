"""What can be done with a model: tasks in an environment, and how many of them a policy finishes."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torchmetrics import MeanMetric

from components.metrics.success_rate import SuccessRate
from components.randomness import mix
from environments.workers import Crashed, Failed, Workers
from evaluation import Report
from policies import Episode, Policy, Scene

ATTEMPTS = 3  # at an episode whose environment crashes


@dataclass
class Attempt:
    """One episode on its way, or ended."""

    task: str
    number: int
    tries: int = 0
    episode: Episode | None = None
    observation: dict[str, np.ndarray] = field(default_factory=dict)
    snapshot: Any = None
    frames: list[np.ndarray] = field(default_factory=list)
    success: bool = False
    steps: int = 0


class ControlSuite:
    """Success of a policy, by the environment's own oracle, over fixed seeds.

    Values: success and success_GROUP of each group of tasks, with the ends of their 95 % intervals, _low and
    _high; steps of successful episodes; seconds_per_decision; crashes: environments that were started anew.
    The same seeds draw the same tables for every policy and checkpoint.

    env: the environment. policy: who acts. tasks: by name, null = all. episodes: of each task.
    processes: environments stepped side by side. camera: what is filmed. films: episodes of each outcome that
    are kept as videos.
    """

    def __init__(
        self,
        *,
        env: Callable[..., Any],
        policy: Policy,
        tasks: list[str] | None = None,
        episodes: int = 10,
        processes: int = 1,
        camera: str = "static",
        films: int = 3,
        seed: int = 0,
    ) -> None:
        if min(episodes, processes) < 1 or films < 0:
            told = f"episodes {episodes}, processes {processes}, films {films}"
            raise ValueError(f"{told}; give at least 1 of the first two")
        self.env, self.policy, self.tasks, self.episodes = env, policy, tasks, episodes
        self.processes, self.camera, self.films, self.seed = processes, camera, films, seed
        self.needs_model = policy.needs_model

    @torch.no_grad()
    def __call__(self, model: Any) -> Report:
        """model: the world model that the policy acts with, or None for one that needs none."""
        make = self._sized(model)
        groups = _kind_of(make).tasks()
        wanted = list(groups) if self.tasks is None else self.tasks
        if unknown := [task for task in wanted if task not in groups]:
            raise ValueError(f"suite.tasks: no task {unknown[0]}; there are {', '.join(groups)}")
        rates = {name: SuccessRate() for name in ["", *dict.fromkeys(groups[task] for task in wanted)]}
        steps, decision = MeanMetric(), MeanMetric()
        report = Report(values={})
        kept: Counter[bool] = Counter()
        workers = Workers(make, self.processes)
        try:
            for attempt in self._played(workers, model, wanted, make, decision):
                for name in ("", groups[attempt.task]):
                    rates[name].update(torch.tensor([attempt.success]))
                if attempt.success:
                    steps.update(attempt.steps)
                if kept[attempt.success] < self.films:
                    kept[attempt.success] += 1
                    outcome = "success" if attempt.success else "failure"
                    name = f"{outcome}_{kept[attempt.success]}_{attempt.task}"
                    report.videos[name] = _film(attempt.frames)
        finally:
            workers.close()
        for name, rate in rates.items():
            told = f"success_{name}" if name else "success"
            low, high = rate.interval().tolist()
            report.values |= {told: rate.compute().item(), f"{told}_low": low, f"{told}_high": high}
        report.values["steps"] = steps.compute().item() if rates[""].successes else float("nan")
        report.values["seconds_per_decision"] = decision.compute().item()
        report.values["crashes"] = float(workers.crashes)
        trials = int(rates[""].trials)
        report.notes.append(f"{trials} episodes; _low and _high are the ends of 95 % intervals")
        return report

    def _sized(self, model: Any) -> Callable[[], Any]:
        """The environment with pictures as the model knows them."""
        if model is None:
            return self.env
        from functools import partial

        clip = model.hparams["clip"]
        return partial(self.env, height=clip["height"], width=clip["width"])

    def _played(
        self, workers: Workers, model: Any, tasks: list[str], make: Callable[[], Any], decision: MeanMetric
    ) -> Iterator[Attempt]:
        """Every episode when it has ended; as many at a time as there are environments."""
        waiting = [Attempt(task, number) for number in range(self.episodes) for task in tasks][::-1]
        playing: dict[int, Attempt] = {}
        while waiting or playing:
            for place in range(len(workers)):
                if place not in playing and waiting:
                    playing[place] = waiting.pop()
                    seed = mix(self.seed, playing[place].number, tasks.index(playing[place].task)) % 2**31
                    workers.ask(place, "reset", seed=seed, options={"task": playing[place].task})
                elif place in playing:
                    attempt = playing[place]
                    began = time.perf_counter()
                    assert attempt.episode is not None
                    action = attempt.episode.act(attempt.observation, attempt.snapshot)
                    decision.update(time.perf_counter() - began)
                    workers.ask(place, "step", action)
            for place, attempt in list(playing.items()):
                try:
                    over = self._answered(workers, place, attempt, model, make)
                except Crashed:
                    del playing[place]
                    again = Attempt(attempt.task, attempt.number, attempt.tries + 1)
                    if again.tries >= ATTEMPTS:
                        raise ValueError(f"{attempt.task} crashed its environment {ATTEMPTS} times") from None
                    waiting.append(again)
                    continue
                except Failed as error:
                    raise ValueError(str(error)) from error
                if over:
                    yield playing.pop(place)

    def _answered(
        self, workers: Workers, place: int, attempt: Attempt, model: Any, make: Callable[[], Any]
    ) -> bool:
        """Take in what the environment answers; whether the episode is over."""
        result = workers.answer(place)
        over, camera = False, getattr(self.policy, "camera", self.camera)
        if attempt.episode is None:
            attempt.observation, info = result
            kind, places = _kind_of(make), None
            workers.ask(place, "goal", camera)
            goal, width, expert = workers.answer(place), len(kind.action_names), getattr(kind, "expert", None)
            if hasattr(kind, "designated"):
                workers.ask(place, "designated", camera)
                places = workers.answer(place)
            scene = Scene(attempt.task, info["text"], goal, make, width, expert, places)
            attempt.episode = self.policy.begin(model, scene, seed=mix(self.seed, 1, attempt.number))
        else:
            attempt.observation, _, terminated, truncated, info = result
            attempt.steps += 1
            attempt.success, over = bool(info["success"]), terminated or truncated
        if self.policy.needs_snapshot and not over:
            workers.ask(place, "state")
            attempt.snapshot = workers.answer(place)
        if getattr(self.policy, "needs_places", False) and not over:
            workers.ask(place, "designated", camera)
            attempt.observation["designated"], _ = workers.answer(place)
        attempt.frames.append(attempt.observation[self.camera])
        return over

    def chance(self, config: dict[str, Any]) -> dict[str, float]:
        """Nothing is known of chance but what suite.policy=random finds."""
        return {}


def _kind_of(make: Any) -> Any:
    """The class that partials of it build."""
    while hasattr(make, "func"):
        make = make.func
    return make


def _film(frames: list[np.ndarray]) -> UInt8[Tensor, "t 3 h w"]:
    return torch.from_numpy(np.stack(frames)).movedim(3, 1)
