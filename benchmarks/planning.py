"""What planning with SAVP costs: `python benchmarks/planning.py [PART ...] [threads=1] [key=value ...]`.

Parts: `batches`, candidate steps a second of one planning by the candidates predicted at a time; `sharing`,
a context that all candidates share against one computed for each; `precision`, bf16-mixed against 32-true;
and `profile`, where the time of a planning goes. Random weights, 64x64 pixels, on the CPU, and on CUDA where
there is one.

repeats=3, candidates=200, steps=15: predicted for each. transformation=cdna (flow), cost=goal_image
(pixel_distance), action_dim=7, channels=8: of the generator, 32 as published.
"""

import copy
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comparing import in_turns, run_parts
from checkpoints.build import build
from components.action_distributions.gaussian import DiagonalCovariance
from components.plan_costs.goal_image import GoalImage
from components.plan_costs.pixel_distance import PixelDistance
from components.planners.cem import CEM
from launch.command import parse
from launch.compose import compose
from launch.run import prepare
from policies import Scene
from policies.model_control import ModelControl, ModelEpisode

SIDE = 64  # pixels
COSTS = {"goal_image": GoalImage, "pixel_distance": PixelDistance}
OPTIONS = {
    "candidates": "200",
    "steps": "15",
    "transformation": "cdna",
    "cost": "goal_image",
    "action_dim": "7",
    "channels": "8",
}


def devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def savp(device: str) -> Any:
    """SAVP without latents, at its first weights."""
    tokens = ["recipe=savp", "variant=deterministic_l1", f"clip.height={SIDE}", f"clip.width={SIDE}"]
    tokens += [f"model.generator.{key}={OPTIONS[key]}" for key in ("transformation", "channels")]
    stages, problems = compose(parse(tokens))
    if problems:
        sys.exit("\n".join(f"{problem.path}: {problem.message}" for problem in problems))
    (raw,) = stages.values()
    raw["clip"] |= {"action_dim": int(OPTIONS["action_dim"])}
    torch.manual_seed(0)
    resolved = prepare(raw)
    model = build(resolved["model"]).eval().to(device)
    model.remember(resolved)
    return model


def episode(model: Any, *, batch_size: int, precision: str = "32-true") -> tuple[ModelEpisode, CEM]:
    """An episode that has seen its context, and its planner: one iteration over all candidates."""
    width, candidates = int(OPTIONS["action_dim"]), int(OPTIONS["candidates"])
    planner = CEM(
        distribution=DiagonalCovariance(std=[0.5] * width), num_actions=int(OPTIONS["steps"]), repeat=1,
        iterations=1, num_samples=candidates, elites=2, batch_size=batch_size,
    )  # fmt: skip
    policy = ModelControl(planner=planner, cost=COSTS[OPTIONS["cost"]](), precision=precision)  # type: ignore[arg-type]
    picture = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    places = np.array([[20.0, 30.0]]), np.array([[40.0, 10.0]])
    scene = Scene("task", "text", picture, object, width, None, places)
    made = policy.begin(model, scene, seed=0)
    for _ in range(model.context_frames):
        made.frames.append(torch.from_numpy(picture).movedim(2, 0).to(model.device))
        made.actions.append(torch.zeros(width, device=model.device))
    return made, planner


def planning(model: Any, *, batch_size: int, precision: str = "32-true") -> Callable[[], object]:
    made, planner = episode(model, batch_size=batch_size, precision=precision)

    def plan() -> None:
        planner.plan(made.cost, generator=made.generator)
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return plan


def show(name: str, times: tuple[list[float], list[float]]) -> float:
    """Print candidate steps a second; the seconds that count, those of the CPU where the model is on it."""
    steps = int(OPTIONS["candidates"]) * int(OPTIONS["steps"])
    clock, cpu = (statistics.median(x) for x in times)
    print(f"{name:40} {steps / clock:9.0f} steps/s, {steps / cpu:9.0f} by CPU seconds")
    return cpu if name.startswith("cpu") else clock


def batches(repeats: int) -> None:
    for device in devices():
        model, sizes = savp(device), (1, 10, 50, 100, 200)
        found = in_turns(repeats, *(planning(model, batch_size=size) for size in sizes))
        for size, times in zip(sizes, found, strict=True):
            show(f"{device}, {size} at a time", times)


def sharing(repeats: int) -> None:
    for device in devices():
        model = savp(device)
        apart = copy.copy(model)
        apart.sample = partial(each_its_own, model)
        kinds = {"a shared context": model, "a context each": apart}
        runs = {name: planning(one, batch_size=50) for name, one in kinds.items()}
        compare(device, repeats, runs)


def each_its_own(model: Any, context: Any, *given: Any) -> Iterator[Any]:
    """SAVP.sample, with actions that differ a little from the first one on."""
    actions = context["actions"]
    a_little = torch.linspace(0, 1e-6, len(actions), device=actions.device)
    return model.sample(context | {"actions": actions + a_little[:, None, None]}, *given)


def precision(repeats: int) -> None:
    for device in devices():
        model = savp(device)
        runs = {name: planning(model, batch_size=50, precision=name) for name in ("bf16-mixed", "32-true")}
        compare(device, repeats, runs)


def compare(device: str, repeats: int, runs: dict[str, Callable[[], object]]) -> None:
    found = in_turns(repeats, *runs.values())
    first, second = (show(f"{device}, {name}", times) for name, times in zip(runs, found, strict=True))
    print(f"{'first / second':40} {second / first:9.2f} times as fast")


def profile(repeats: int) -> None:
    from torch.profiler import ProfilerActivity

    for device in devices():
        plan = planning(savp(device), batch_size=50)
        plan()
        kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
        with torch.profiler.profile(activities=kinds, record_shapes=True) as seen:
            plan()
        own = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
        whole = sum(getattr(event, own) for event in seen.key_averages())
        for shapes in (False, True):
            print(f"{device}, share of {whole / 1e6:.1f} s, operation{', shapes' * shapes}")
            events = seen.key_averages(group_by_input_shape=shapes)
            for event in sorted(events, key=lambda event: -getattr(event, own))[:12]:
                sizes = [size for size in event.input_shapes if size] if shapes else ""
                print(f"  {getattr(event, own) / whole:6.1%} {event.count:6}x {event.key} {sizes}")


if __name__ == "__main__":
    words = sys.argv[1:]
    for word in words:
        key, _, value = word.partition("=")
        if key in OPTIONS:
            OPTIONS[key] = value
    parts = {"batches": batches, "sharing": sharing, "precision": precision, "profile": profile}
    run_parts(__file__, parts, words)
